"""Measures S3 staging beside its peers: 1 GiB and 1,000 x 100 KiB, put and get, by ratio.

    .venv/bin/python bench/staging.py            # about 15 minutes
    .venv/bin/python bench/staging.py --quick    # small numbers: does it work?

The server is a private Ceph gateway where Ceph is installed (apt-get install ceph-mon ceph-osd
ceph-common radosgw), else moto's, which is slow enough to hide differences. Contenders take turns;
ratios are taken within a round. Prints a Markdown table.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import setup  # noqa: E402 - beside this file
from servers import s3  # noqa: E402 - the tests' own servers

BIG, SMALL_COUNT, SMALL_BYTES = 1 << 30, 1_000, 100 * 1024
CEPH_BYTES = 10 << 30
DRIVER = HERE / "peers" / "staging_driver.py"
OPERATIONS = ("put big", "get big", "put small", "get small")
PYTHON_PEERS = ("obstore", "aioboto3")


def main():
    options = parse()
    python = setup.staging_python()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder(options))))
        make_data(home, options)
        server, kind = start_server(stack)
        warm_up(server, home)
        contenders = [make(name, python, home, server) for name in names(options)]
        rounds = measure(contenders, server, options.rounds)
    print(table(rounds, kind, options))


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="comma-separated names of contenders")
    options = parser.parse_args()
    options.big = BIG // 16 if options.quick else BIG
    options.count = SMALL_COUNT // 10 if options.quick else SMALL_COUNT
    options.rounds = min(options.rounds, 2) if options.quick else options.rounds
    return options


def names(options):
    every = ["pytq", "pytq-command", "obstore", "aioboto3", "awscli", "s5cmd", "loopback"]
    if rclone():
        every.insert(-1, "rclone")
    return options.only.split(",") if options.only else every


def rclone():
    return shutil.which("rclone")


def fast_folder(options):
    """Memory, where there is enough of it: no disk is measured here."""
    shared = Path("/dev/shm")
    need = 3 * options.big
    return shared if shared.is_dir() and shutil.disk_usage(shared).free > need else None


def make_data(home, options):
    (home / "small").mkdir()
    with (home / "big").open("wb") as file:
        for _ in range(options.big >> 20):
            file.write(os.urandom(1 << 20))
    for number in range(options.count):
        (home / "small" / f"{number:05}").write_bytes(os.urandom(SMALL_BYTES))


def start_server(stack):
    if s3.has_ceph():
        return stack.enter_context(s3.ceph(CEPH_BYTES)), "Ceph's gateway, in memory"
    return start_moto(stack), "moto, which is slow: it hides differences"


def warm_up(server, home):
    """Ceph makes its pools when the first object comes, and has the kernel find memory for it."""
    client = server.client()
    client.create_bucket(Bucket="bench")
    for _ in range(5):
        client.put_object(Bucket="bench", Key="warm", Body=bytes(1 << 20))
        client.get_object(Bucket="bench", Key="warm")["Body"].read()
    for number in range(5):
        client.upload_file(str(home / "big"), "bench", f"warm-{number}")
    forget(server)


def start_moto(stack):
    """A process of its own, so that it does not share our interpreter."""
    port = s3.free_port()
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    server = s3.S3Server(f"http://127.0.0.1:{port}")
    s3.wait_for(server.endpoint)
    return server


def run(words, **more):
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=600, **more)
    if done.returncode:
        sys.exit(f"bench: {words} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done


class Driven:
    """A library: a process of its own holds the stopwatch, so that imports do not count."""

    def __init__(self, name, python, home, server):
        self.name, self.python, self.home, self.server = name, python, home, server

    def run(self, operation):
        words = [self.python, DRIVER, self.name, operation, self.home, self.server.endpoint]
        done = run(words, env=os.environ | self.server.environment)
        return json.loads(done.stdout.splitlines()[-1])


class Command:
    """A program: all of it counts, as people wait for all of it."""

    def __init__(self, name, words, home, server, more=None):
        self.name, self.words, self.home, self.server = name, words, home, server
        self.environment = os.environ | server.environment | (more or {})
        self.environment.pop(
            "AWS_CA_BUNDLE", None
        )  # nothing is encrypted here; rclone trips over it

    def run(self, operation):
        words = self.words(operation, self.home, f"bench/{self.name}")
        before = os.times()
        begin = time.monotonic()
        run(words, env=self.environment)
        seconds = time.monotonic() - begin
        after = os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])
        return {"seconds": seconds, "cpu": cpu}


def make(name, python, home, server):
    bins = Path(python).parent
    if name in (*PYTHON_PEERS, "pytq", "loopback"):
        mine = sys.executable if name in ("pytq", "loopback") else python
        return Driven(name, mine, home, server)
    if name == "pytq-command":
        return Command(name, pytq_words, home, server)
    if name == "awscli":
        return Command(name, lambda *a: aws_words(bins, *a), home, server)
    if name == "s5cmd":
        more = {"S3_ENDPOINT_URL": server.endpoint}
        return Command(name, lambda *a: s5cmd_words(bins, *a), home, server, more)
    if name == "rclone":
        return Command(name, rclone_words, home, server, rclone_environment(server))
    sys.exit(f"bench: there is no contender {name!r}")


def pytq_words(operation, home, where):
    program = [sys.executable, "-m", "pytq.cli.main", "fetch"]
    verb, size = operation.split()
    here = home / ("out-" + size if verb == "get" else size)
    there = f"s3://{where}/{size}" + ("/" if size == "small" else "")
    ends = [there, here] if verb == "get" else [here, there]
    return [*program, verb, "-q", *map(str, ends)]


def aws_words(bins, operation, home, where):
    verb, size = operation.split()
    here = str(home / ("out-" + size if verb == "get" else size))
    there = f"s3://{where}/{size}"
    ends = [there, here] if verb == "get" else [here, there]
    return [bins / "aws", "s3", "cp", "--quiet", *(["--recursive"] * (size == "small")), *ends]


def s5cmd_words(bins, operation, home, where):
    verb, size = operation.split()
    here, there = str(home / ("out-" + size if verb == "get" else size)), f"s3://{where}/{size}"
    if size == "small":
        ends = [f"{there}/*", f"{here}/"] if verb == "get" else [f"{here}/", f"{there}/"]
    else:
        ends = [there, here] if verb == "get" else [here, there]
    return [bins / "s5cmd", "cp", *ends]


def rclone_words(operation, home, where):
    verb, size = operation.split()
    here, there = str(home / ("out-" + size if verb == "get" else size)), f"bench:{where}/{size}"
    ends = [there, here] if verb == "get" else [here, there]
    how = ["--transfers", "32", "--checkers", "32", "--s3-upload-concurrency", "4"]
    chunk = ["--s3-chunk-size", "16M", "--multi-thread-streams", "4", "--s3-no-check-bucket"]
    return [rclone(), "copy" if size == "small" else "copyto", *how, *chunk, *ends]


def rclone_environment(server):
    return {
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "Ceph",
        "RCLONE_CONFIG_BENCH_ENV_AUTH": "true",
        "RCLONE_CONFIG_BENCH_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG": os.devnull,
    }


def measure(contenders, server, count):
    """Rounds of {operation: {name: {seconds, cpu}}}; who begins changes from round to round."""
    rounds = []
    for number in range(count):
        found = {operation: {} for operation in OPERATIONS}
        for operation in OPERATIONS:
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                for place in contender.home.glob("out-*"):
                    shutil.rmtree(place) if place.is_dir() else place.unlink()
                one = found[operation][contender.name] = contender.run(operation)
                print(
                    f"round {number + 1}, {operation}, {contender.name}:"
                    f" {one['seconds']:.2f} s, {one['cpu']:.2f} s CPU",
                    file=sys.stderr,
                )
                check(contender, operation)
        forget(server)
        rounds.append(found)
    return rounds


def check(contender, operation):
    """What came is what went."""
    verb, size = operation.split()
    if verb == "get":
        subprocess.run(
            ["diff", "-rq", contender.home / size, contender.home / f"out-{size}"], check=True
        )


def forget(server):
    """Make room for the next round."""
    client = server.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bench"):
        names = [one["Key"] for one in page.get("Contents", [])]
        keys = [{"Key": name} for name in names if name != "warm"]
        if keys:
            client.delete_objects(Bucket="bench", Delete={"Objects": keys})
    time.sleep(5)  # Ceph throws away what was deleted behind our back


def table(rounds, kind, options):
    sizes = {"big": f"{options.big >> 20} MiB", "small": f"{options.count} x 100 KiB"}
    lines = [
        f"S3 staging. Server: {kind}. {len(rounds)} interleaved rounds, medians; in brackets the"
        " smallest and largest ratio. Load at the end: "
        + " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "",
        "| | seconds | CPU s | speed / awscli | pytq's speed / this |",
        "|---|---:|---:|---:|---:|",
    ]
    for operation in OPERATIONS:
        verb, size = operation.split()
        lines.append(f"| **{verb} {sizes[size]}** | | | | |")
        lines += [row(rounds, operation, name) for name in rounds[0][operation]]
    return "\n".join([*lines, "", *verdicts(rounds)])


def row(rounds, operation, name):
    seconds = statistics.median(one[operation][name]["seconds"] for one in rounds)
    cpu = statistics.median(one[operation][name]["cpu"] for one in rounds)
    faster = ratio(rounds, operation, "awscli", name)
    ours = ratio(rounds, operation, name, "pytq") if name != "pytq" else "1"
    return f"| {name} | {seconds:.2f} | {cpu:.2f} | {faster} | {ours} |"


def ratios(rounds, operation, slow, fast):
    """How much faster `fast` is than `slow`, round by round."""
    return [
        one[operation][slow]["seconds"] / one[operation][fast]["seconds"]
        for one in rounds
        if slow in one[operation] and fast in one[operation]
    ]


def ratio(rounds, operation, slow, fast):
    found = ratios(rounds, operation, slow, fast)
    if not found:
        return ""
    return f"{statistics.median(found):.2f} [{min(found):.2f}-{max(found):.2f}]"


def verdicts(rounds):
    """The two goals."""
    for operation in OPERATIONS:
        peers = {
            name: statistics.median(found)
            for name in PYTHON_PEERS
            if (found := ratios(rounds, operation, name, "pytq"))
        }
        if peers:
            best = min(peers, key=peers.get)
            held = "holds" if peers[best] >= 1 else "missed"
            text = f"at least as fast as the best Python peer ({best})"
            yield f"- {operation}: {text}: {peers[best]:.2f}, {held}"
        if operation.endswith("small") and (found := ratios(rounds, operation, "awscli", "pytq")):
            held = "holds" if statistics.median(found) >= 3 else "missed"
            yield f"- {operation}: 3 x awscli: {statistics.median(found):.2f}, {held}"


if __name__ == "__main__":
    main()
