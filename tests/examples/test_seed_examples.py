"""The first PYTQ's README, typed against real servers: dockerd, a registry, S3, ENA."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from private_docker import PrivateDocker, PrivateRegistry, private_docker, program, why_not
from servers.ena import EnaDouble
from servers.s3 import S3Server, moto
from servers.web import lying_server
from system import PYTQ, System, running

ROOT = Path(__file__).parents[2]
TASKS = 5  # of each loop
RUNS = [f"SRR{number}" for number in range(890934, 890940)]
FASTQ = b"@read\nACGT\n+\nFFFF\n" * 100

DO_MYSTUFF = """#!/bin/sh
# do_mystuff NAME [-try N] | --db DB --output FOLDER INPUT
set -e
if [ "$1" = --db ]; then
    { cat "$2"; cat "$5"; } > "$4/result"
else
    echo "stuff of $1" > result
fi
"""
PIGZ = """#!/bin/sh
# pigz -p CPUS -r FOLDER
set -e
[ "$1" = -p ] && [ "$2" -ge 1 ] && [ "$3" = -r ]
for file in "$4"/*; do busybox gzip "$file"; done
"""
PIPELINE = """#!/bin/sh
# pipeline_rnd.sh -e -c FOLDER NAME
set -e
cd "$3"
for file in *.fastq.gz; do busybox gunzip -c "$file"; done | busybox wc -l > "$4.lines"
"""


@dataclass
class Place:
    """All that the examples take for granted."""

    docker: PrivateDocker
    registry: PrivateRegistry
    s3: S3Server
    ena: EnaDouble
    data: Path  # /data of every worker

    @property
    def environment(self) -> dict[str, str]:
        """What workers are told by theirs."""
        login = {"DOCKER_HOST": self.docker.host, "DOCKER_CONFIG": f"{self.docker.room}/cfg"}
        return login | self.s3.environment | self.ena.environment


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    reason = why_not() or ("" if program("docker-registry") else "docker-registry is missing")
    if reason:
        pytest.skip(f"no dockerd: {reason}")
    registry = PrivateRegistry()
    with private_docker() as docker, moto() as s3, lying_server() as web:
        try:
            registry.start()
            data = tmp_path / "nfs"
            data.mkdir()
            yield Place(docker, registry, s3, EnaDouble(web), data)
        finally:
            registry.dispose()


def build(docker: PrivateDocker, name: str, script: str, content: str, *changes: str) -> str:
    """An image of busybox with one script more."""
    file = docker.room / script
    file.write_text(content)
    file.chmod(0o755)
    one = docker.cli("create", "--network", "none", "busybox:test", "true")
    docker.cli("cp", str(file), f"{one}:/bin/{script}")
    words = [word for change in changes for word in ("--change", change)]
    docker.cli("commit", *words, one, name)
    docker.cli("rm", one)
    return name


def fill(place: Place) -> dict[str, str]:
    """Put in place what the examples name; what the script is told of it."""
    docker, registry = place.docker, place.registry
    build(docker, "mydocker", "do_mystuff", DO_MYSTUFF)
    build(docker, "pigz:master", "pigz", PIGZ, 'ENTRYPOINT ["/bin/pigz"]')
    docker.cli("login", "--username", "pytq", "--password", "tested", registry.host)
    for image in ("biomscope-pipeline-oral:0.4", "biomscope-pipeline:0.8.1"):
        name = build(docker, f"{registry.host}/{image}", "pipeline_rnd.sh", PIPELINE)
        docker.cli("push", name)
        docker.cli("rmi", name)
    fill_s3(place.s3)
    for run in RUNS:
        files = {f"{run}_{part}.fastq.gz": gzip.compress(FASTQ) for part in (1, 2)}
        place.ena.add(run, files)
        (place.data / "results/SRA21" / run).mkdir(parents=True)
    for number in range(1, TASKS + 1):
        folder = place.data / f"archive/task{number}"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(FASTQ)
    return {
        "TASKS": str(TASKS),
        "ALPINE": "busybox:test",
        "MYDOCKER": "mydocker",
        "PIGZ": "pigz:master",
        "REGISTRY": registry.host,
    }


def fill_s3(s3: S3Server) -> None:
    client = s3.client()
    for bucket in ("clinical", "database", "data", "results"):
        client.create_bucket(Bucket=bucket)
    for number in range(1, 9):
        for part in (1, 2):
            key = f"S5810/mgshot_S5810Nr{number}.{part}.fastq.gz"
            client.put_object(Bucket="clinical", Key=key, Body=gzip.compress(FASTQ))
    client.put_object(Bucket="database", Key="my.db", Body=b"database\n")
    client.put_object(Bucket="database", Key="my.db.gz", Body=gzip.compress(b"unpacked\n"))
    for number in range(1, TASKS + 1):
        key = f"sample_{number}/sample_{number}.dat"
        client.put_object(Bucket="data", Key=key, Body=f"sample {number}\n".encode())


def start_worker(system: System, batch: str, data: Path) -> None:
    options = ["--batch", batch, "--data", str(data)]
    command = [*PYTQ, "worker", system.address, "3", "--name", batch, "--kill", *options]
    system.workers.append(
        system._start([*command, "--work-dir", system.folder / f"w-{batch}"], batch)
    )


@pytest.mark.timeout(400)
def test_the_first_readme_still_runs(place: Place, tmp_path: Path) -> None:
    """Every example of the first README does what it says, typed as it was written."""
    told = fill(place)
    with running(tmp_path) as system:
        system.env |= place.environment
        for batch in ("test", "housecleaning", "s5810", "SRA21"):
            start_worker(system, batch, place.data)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        launched = subprocess.run(
            ["sh", str(ROOT / "examples/seed.sh")],
            env=system.env | told | {"PATH": path},
            capture_output=True,
            timeout=200,
            check=True,
        )
        ids = launched.stdout.decode().split()
        wait_for_all(system, ids)
        check_data(place.data)
        check_s3(place.s3)


def wait_for_all(system: System, ids: list[str]) -> None:
    """Each has ended, and ended well."""
    code = (
        "import sys; from pytq.lib import *; s = Server();"
        "done = s.join([int(i) for i in sys.argv[1:]], timeout=240);"
        "bad = [s.task_get(i) for i, st in done.statuses.items() if st != 'succeeded'];"
        "print([(t.id, t.name, t.batch, t.status, t.reason) for t in bad])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *ids],
        env=system.env,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.decode().strip() == "[]", (done.stdout, done.stderr, system.log("test"))


def check_data(data: Path) -> None:
    for number in range(1, TASKS + 1):
        for name in ("task", "again"):
            result = data / f"work/{name}{number}/result"
            assert result.read_text() == f"stuff of {name}{number}\n"
        packed = data / f"archive/task{number}/file.gz"
        assert gzip.decompress(packed.read_bytes()) == FASTQ
    for run in RUNS:
        found = {p.name: p.read_text() for p in (data / "results/SRA21" / run).iterdir()}
        assert found == {f"{run}.lines": "800\n"}


def check_s3(s3: S3Server) -> None:
    client = s3.client()

    def read(bucket: str, key: str) -> str:
        return client.get_object(Bucket=bucket, Key=key)["Body"].read().decode()

    for number in range(1, 9):
        prefix = f"results/S5810Nr{number}/"
        listed = client.list_objects_v2(Bucket="clinical", Prefix=prefix)["Contents"]
        name = f"{prefix}mgshot_S5810Nr{number}.lines"
        assert [entry["Key"] for entry in listed] == [name]
        assert read("clinical", name) == "800\n"
    for number in range(1, TASKS + 1):
        assert read("results", f"sample_{number}/result") == f"database\nsample {number}\n"
        assert read("results", f"unpacked_{number}/result") == f"unpacked\nsample {number}\n"


def test_the_library_of_the_first_readme(tmp_path: Path) -> None:
    """`from pytq.lib import *` and two lines make a task, as they always did."""
    with running(tmp_path) as system:
        system.start_worker()
        code = (
            "from pytq.lib import *\n"
            f"s=Server('{system.address}')\n"
            "t=s.task_create('echo some shell stuff | tr a-z A-Z')\n"
            "s.join([t]); print(s.task_get(t.id).model_dump_json())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=system.env,
            capture_output=True,
            timeout=60,
            check=True,
        )
        task = json.loads(done.stdout)
        assert task["status"] == "succeeded"
        assert system.run("task", "output", str(task["id"])).stdout == b"SOME SHELL STUFF\n"
