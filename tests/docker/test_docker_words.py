"""The pure side of containers: options, configs, names, sentences, frames. Needs no dockerd."""

import random
import re
from pathlib import Path
from typing import Any

import pytest

from pytq.schema.tasks import TaskSpec
from pytq.worker.rooms import Rooms
from pytq.worker.runners.docker import config, names
from pytq.worker.runners.docker.clerk import Clerk
from pytq.worker.runners.docker.config import Place, Share
from pytq.worker.runners.docker.credentials import host_of
from pytq.worker.runners.docker.dockerd import DockerdAway, find_socket, moment, plain
from pytq.worker.runners.docker.options import (
    BY_VALUE,
    FREE,
    GUARDED,
    NEVER,
    OptionError,
    name_of,
    parse,
)
from pytq.worker.runners.docker.output import Demultiplexer, Spot
from pytq.worker.runners.docker.pulls import Layers, of_refusal
from pytq.worker.runners.docker.usage import _cpu_seconds, _resident
from pytq.worker.runners.process import CannotRun

GIB = 2**30


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--shm-size=2g"], {"ShmSize": 2 * GIB}),
        (["--shm-size", "2g"], {"ShmSize": 2 * GIB}),
        (["-m512m"], {"Memory": 512 * 2**20}),
        (["-m=1.5GiB"], {"Memory": 3 * GIB // 2}),
        (["-m", "100"], {"Memory": 100}),
        (["--memory-swap=-1"], {"MemorySwap": -1}),
        (["--cpus=1.5"], {"NanoCpus": 1_500_000_000}),
        (["--cpuset-cpus=0-3"], {"CpusetCpus": "0-3"}),
        (["--init"], {"Init": True}),
        (["--init=false"], {}),
        (["--read-only", "--pids-limit", "100"], {"ReadonlyRootfs": True, "PidsLimit": 100}),
        (["--network=none"], {"NetworkMode": "none"}),
        (["--net", "mynet"], {"NetworkMode": "mynet"}),
        (["--ipc=private"], {"IpcMode": "private"}),
        (["--tmpfs=/run:rw,size=64m"], {"Tmpfs": {"/run": "rw,size=64m"}}),
        (
            ["--dns=1.1.1.1", "--dns=8.8.8.8"],
            {"Dns": ["1.1.1.1", "8.8.8.8"]},
        ),
        (
            ["--add-host=a:1.2.3.4", "--add-host", "b=::1"],
            {"ExtraHosts": ["a:1.2.3.4", "b:::1"]},
        ),
        (
            ["--ulimit=nofile=10:20", "--ulimit=core=0"],
            {
                "Ulimits": [
                    {"Name": "nofile", "Soft": 10, "Hard": 20},
                    {"Name": "core", "Soft": 0, "Hard": 0},
                ]
            },
        ),
        (["--cap-drop=ALL", "--group-add=audio"], {"CapDrop": ["ALL"], "GroupAdd": ["audio"]}),
    ],
)
def test_options_are_read_as_docker_reads_them(words: list[str], expected: dict[str, Any]) -> None:
    """Every way to write an option comes to the same in dockerd's own terms."""
    assert parse(words).host == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("all", {"Count": -1, "Capabilities": [["gpu"]]}),
        ("2", {"Count": 2, "Capabilities": [["gpu"]]}),
        ("device=0,1", {"Count": 0, "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]]}),
        ('"device=0,1"', {"Count": 0, "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]]}),
        (
            '"device=GPU-3a,GPU-4b",capabilities=compute',
            {"Count": 0, "DeviceIDs": ["GPU-3a", "GPU-4b"], "Capabilities": [["gpu", "compute"]]},
        ),
    ],
)
def test_gpus(word: str, expected: dict[str, Any]) -> None:
    """GPUs can be asked for in all the ways that docker's manual shows."""
    (request,) = parse([f"--gpus={word}"]).host["DeviceRequests"]

    assert request == {"Driver": "", "Options": {}} | expected


def test_what_is_not_of_the_host() -> None:
    """Entry point, user, folder, host name, environment, labels, platform and grace have places."""
    words = ["--entrypoint=", "-u1:2", "-w", "/x", "-h=box", "-e", "A=b=c", "-l", "k=v"]
    choices = parse([*words, "--platform=linux/arm64", "--stop-timeout=90"])

    assert choices.config == {
        "Entrypoint": [],
        "User": "1:2",
        "WorkingDir": "/x",
        "Hostname": "box",
    }
    assert (choices.env, choices.labels) == ({"A": "b=c"}, {"k": "v"})
    assert (choices.platform, choices.grace) == ("linux/arm64", 90.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--frobnicate=1"], "--frobnicate is none of the options"),
        (["-q"], "-q is none of the options"),
        (["plain"], "'plain' is not an option; write one as --shm-size=2g"),
        (["--gpus all"], "'--gpus all' is not an option"),
        (["--shm-size"], "--shm-size needs a value"),
        (["--shm-size="], "--shm-size needs a value"),
        (["--shm-size=big"], "--shm-size=big: write a size as 512m or 2g"),
        (["--cpus=many"], "--cpus=many: write a number of CPUs"),
        (["--init=please"], "--init takes no value"),
        (["--env=HOME"], "nothing of the worker's own environment"),
        (["--label=pytq.task=1"], "PYTQ's own"),
        (["--platform=arm"], "linux/arm64"),
        (["--ulimit=nofile"], "write NAME=VALUE"),
        (["--gpus=some=thing"], "write all, a count, or device=0,1"),
        (["--tmpfs=scratch"], "absolute path"),
        (["--stop-timeout=1m"], "write seconds"),
        (["--rm"], "--rm is not for a task to set: PYTQ removes containers itself"),
        (["-it"], "--interactive is not for a task to set"),
        (["--name=x"], "PYTQ names containers itself"),
        (["--log-driver=none"], "exactly as it is"),
    ],
)
def test_bad_options_are_refused_in_words(words: list[str], said: str) -> None:
    """What is unknown, malformed or PYTQ's own to decide is named, with what to do instead."""
    with pytest.raises(OptionError) as refused:
        parse(words)

    assert said in str(refused.value)


DANGEROUS = [
    "--privileged",
    "-v/:/host",
    "-v=/var/run/docker.sock:/s",
    "--volume=/:/x",
    "--mount=type=bind,source=/,target=/x",
    "--device=/dev/sda",
    "--cap-add=SYS_ADMIN",
    "--security-opt=seccomp=unconfined",
    "--pid=host",
    "--net=host",
    "--network=container:other",
    "--ipc=host",
    "--userns=host",
    "--uts=host",
    "--cgroupns=host",
    "--cgroup-parent=/",
    "--runtime=other",
    "--sysctl=kernel.shmmax=1",
    "--oom-kill-disable",
    "--oom-score-adj=-1000",
    "--volumes-from=other",
    "--device-cgroup-rule=a *:* rwm",
]


@pytest.mark.parametrize("word", DANGEROUS)
def test_what_reaches_out_is_guarded(word: str) -> None:
    """Each dangerous option is refused, naming the worker's switch that would allow it."""
    with pytest.raises(OptionError) as refused:
        parse([word])
    name = str(refused.value).rpartition(" ")[2]

    assert "--allow-docker-option" in str(refused.value)
    assert parse([word], {name}).host
    with pytest.raises(OptionError):
        parse([word], set(GUARDED) - {name})


def test_guarded_options_once_allowed() -> None:
    """Volumes, mounts and devices are then read as docker reads them."""
    words = ["-v=/a:/b:ro", "--mount=type=bind,src=/c,dst=/d,readonly", "--device=/dev/x:rw"]
    host = parse([*words, "--device", "/dev/y:/dev/z"], set(GUARDED)).host

    assert host["Binds"] == ["/a:/b:ro"]
    mount = {"Type": "bind", "Source": "/c", "Target": "/d", "ReadOnly": True}
    assert host["Mounts"] == [mount]
    assert [tuple(device.values()) for device in host["Devices"]] == [
        ("/dev/x", "/dev/x", "rw"),
        ("/dev/y", "/dev/z", "rwm"),
    ]


def test_each_option_is_in_one_table() -> None:
    """No option is both allowed and guarded, or known and refused; names are docker's own."""
    assert not FREE.keys() & GUARDED.keys()
    assert not (FREE | GUARDED).keys() & NEVER.keys()
    assert name_of("-v") == name_of("--volume") == name_of("volume") == "volume"


SPEC: dict[str, Any] = {"container": "alpine", "command": ["x"]}
PLACE = Place("0123456789abcdef", "/r", {"/input": "/r/input", "/resource": "/r/resource"}, "/nfs")


def made(step: dict[str, Any], options: list[str] | None = None, **spec: Any) -> dict[str, Any]:
    task = TaskSpec.model_validate({"steps": [SPEC | step], **spec})
    return config.container(task, 0, (17, 2), PLACE, Share("3", "512"), parse(options or []))


def test_a_config_says_where_things_are() -> None:
    """Folders are bound where tasks expect them, resources read-only, the shared one as /data."""
    mounts = made({})["HostConfig"]["Mounts"]

    assert [(m["Source"], m["Target"], m["ReadOnly"]) for m in mounts] == [
        ("/r/input", "/input", False),
        ("/r/resource", "/resource", True),
        ("/nfs", "/data", False),
    ]


def test_a_config_leaves_to_the_image_what_nobody_asked_for() -> None:
    """Entry point, folder and user are the image's own unless the task says otherwise."""
    bare = made({})
    asked = made({"workdir": "/w"}, ["--entrypoint=/e"], uid=5, gid=6)

    assert not {"Entrypoint", "WorkingDir", "User"} & bare.keys()
    assert (asked["Entrypoint"], asked["WorkingDir"], asked["User"]) == (["/e"], "/w", "5:6")
    assert config.name_of(PLACE.worker, (17, 2), 0) == "pytq-01234567-17.2.0"


def test_limits_come_from_the_request_or_from_options() -> None:
    """A request is a hard limit, without swap; an option has the last word; $CPU follows both."""
    requested = made({}, request={"memory": GIB, "cpus": 2.5, "gpus": 1})
    chosen = made({}, ["-m2g", "--memory-swap=3g", "--cpus=4"], request={"memory": GIB})
    neither = made({})["HostConfig"]

    host = requested["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (GIB, GIB, 2_500_000_000)
    assert host["DeviceRequests"][0]["Count"] == 1
    assert {"CPU=2", "MEM=1024"} <= set(requested["Env"])
    host = chosen["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (2 * GIB, 3 * GIB, 4 * 10**9)
    assert {"CPU=4", "MEM=2048"} <= set(chosen["Env"])
    assert not {"Memory", "MemorySwap", "NanoCpus", "DeviceRequests"} & neither.keys()


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("$CPU", "3"),
        ("${CPU}", "3"),
        ("$MEM", "512"),
        ("-p$CPU", "-p3"),
        ("-@$CPU", "-@3"),
        ("--threads=$CPU", "--threads=3"),
        ("threads=${CPU}", "threads=3"),
        ("-Xmx=$MEM", "-Xmx=512"),
        *(
            (word, word)
            for word in (
                "$CPUS",
                "$CPU ",
                " $CPU",
                "x$CPU",
                "echo $CPU",
                "$CPU$MEM",
                "'$CPU'",
                "$HOME",
                "$$CPU",
                "\\$CPU",
                "--x=a$CPU",
                "{CPU}",
                "$(CPU)",
                "--a=b=$CPU;rm",
                "",
            )
        ),
    ],
)
def test_cpu_is_filled_in_where_it_stands_alone(word: str, filled: str) -> None:
    """A word that is `$CPU` or `$MEM`, or an option with it as value; nothing else changes."""
    assert made({"command": ["run", word]})["Cmd"] == ["run", filled]


def test_a_steps_own_cpu_wins() -> None:
    """What a step's environment says of CPU is what its words see too."""
    assert made({"command": ["x", "$CPU"], "env": {"CPU": "7"}})["Cmd"] == ["x", "7"]


@pytest.mark.parametrize(
    ("image", "registry", "familiar"),
    [
        ("alpine", "docker.io", "alpine:latest"),
        ("alpine:3", "docker.io", "alpine:3"),
        ("docker.io/library/alpine", "docker.io", "alpine:latest"),
        ("me/tool", "docker.io", "me/tool:latest"),
        ("ghcr.io/a/b:main", "ghcr.io", "ghcr.io/a/b:main"),
        ("localhost/x", "localhost", "localhost/x:latest"),
        ("reg:5000/x", "reg:5000", "reg:5000/x:latest"),
        ("x@sha256:" + "0" * 64, "docker.io", "x@sha256:" + "0" * 64),
    ],
)
def test_image_names(image: str, registry: str, familiar: str) -> None:
    """Names mean what docker takes them for, so that one image is never pulled twice."""
    assert (names.registry(image), names.familiar(image)) == (registry, familiar)
    assert names.familiar(names.full(image)) == familiar
    assert names.of_uri(names.uri_of(image)) == familiar


@pytest.mark.parametrize(
    ("said", "permanent"),
    [
        ("manifest for x:1 not found: manifest unknown: manifest unknown", True),
        ("pull access denied for x, repository does not exist or may require 'docker login'", True),
        ("Get https://r/v2/: no basic auth credentials", True),
        ("unauthorized: incorrect username or password", True),
        ("no matching manifest for linux/amd64 in the manifest list entries", True),
        ("x509: certificate signed by unknown authority", True),
        ("http: server gave HTTP response to HTTPS client", True),
        ("dial tcp 127.0.0.1:1: connect: connection refused", False),
        ("net/http: TLS handshake timeout", False),
        ("dial tcp: lookup r.example: no such host", False),
        ("received unexpected HTTP status: 503 Service Unavailable", False),
        ("toomanyrequests: You have reached your pull rate limit; denied", False),
        ("unexpected EOF", False),
    ],
)
def test_what_registries_say(said: str, permanent: bool) -> None:
    """What will not change by asking again is told from what may."""
    assert of_refusal("x", said).permanent is permanent


def test_a_full_disk_is_told_apart() -> None:
    """An image that does not fit is the disk's fault."""
    assert of_refusal("x", "write /var/lib/docker/tmp/y: no space left on device").cause == "disk"


def test_progress_of_layers() -> None:
    """Bytes are summed over layers; the total is known when every layer has told its size."""
    layers = Layers()

    def hear(name: str, status: str, current: int = 0, total: int = 0) -> tuple[int, int | None]:
        detail = {"current": current, "total": total} if total else {}
        layers.take({"id": name, "status": status, "progressDetail": detail})
        return layers.progress

    layers.take({"id": "1", "status": "Pulling from library/x"})
    assert hear("a", "Pulling fs layer") == (0, None)
    assert hear("b", "Pulling fs layer") == (0, None)
    assert hear("a", "Downloading", 10, 100) == (10, None)
    assert hear("b", "Downloading", 5, 50) == (15, 150)
    assert hear("b", "Download complete") == (60, 150)
    assert hear("b", "Extracting", 1, 50) == (60, 150)
    assert hear("a", "Pull complete") == (150, 150)


def test_frames_cut_anywhere() -> None:
    """However a stream is cut into pieces, each byte comes out once, in order, on its own side."""
    rng = random.Random(7)  # noqa: S311 - the same bytes each time
    sides: tuple[bytearray, bytearray] = (bytearray(), bytearray())
    stream = bytearray()
    for _ in range(400):
        side, data = rng.randrange(2), rng.randbytes(rng.choice([0, 1, 7, 300, 20_000]))
        stream += bytes([side + 1, 0, 0, 0]) + len(data).to_bytes(4, "big") + data
        sides[side].extend(data)
    for size in (1, 3, 8, 1000, 65_536, len(stream)):
        frames, out, err = Demultiplexer(), bytearray(), bytearray()
        pieces = stream[:4000] if size < 8 else stream
        for at in range(0, len(pieces), size):
            new = frames.feed(bytes(pieces[at : at + size]))
            out += new[0]
            err += new[1]
        assert sides[0].startswith(out)
        assert sides[1].startswith(err)
        assert size < 8 or (out, err) == sides


def test_dockerds_own_words_are_no_output() -> None:
    """What dockerd says of itself in between means that the stream broke."""
    with pytest.raises(DockerdAway, match="gone"):
        Demultiplexer().feed(b"\x03\0\0\0\0\0\0\x04gone")


def test_output_goes_to_no_link(tmp_path: Any) -> None:
    """A file or folder that a task replaced by a link, or by a pipe, is not followed."""
    import os

    (tmp_path / "secret").write_text("mine")
    (tmp_path / "room").mkdir()
    (tmp_path / "room/link").symlink_to(tmp_path / "secret")
    (tmp_path / "room/away").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "room/pipe")
    for path in ("link", "away/secret", "pipe"):
        with pytest.raises(OSError, match=r"link|device|directory"):
            Spot(f"{tmp_path}/room", path).open()
    os.close(Spot(f"{tmp_path}/room", "deep/er/file").open())

    assert (tmp_path / "secret").read_text() == "mine"
    assert (tmp_path / "room/deep/er/file").exists()


@pytest.mark.parametrize(
    ("said", "plainly"),
    [
        (
            (
                "failed to create shim: OCI runtime create failed: container_linux.go:380: starting"
                ' container process caused: exec: "nope": executable file not found: unknown'
            ),
            'docker: exec: "nope": executable file not found',
        ),
        ("Minimum memory limit allowed is 6MB", "docker: Minimum memory limit allowed is 6MB"),
    ],
)
def test_dockers_sentences(said: str, plainly: str) -> None:
    """What docker says reaches people without the names of its own parts."""
    assert plain(said) == plainly


def test_small_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times, cgroup files, registry keys and DOCKER_HOST are read as they are written."""
    assert moment("2026-01-02T03:04:05.123456789Z") == moment("2026-01-02T03:04:05Z") + 0.123456789
    assert _cpu_seconds("1500000000\n") == _cpu_seconds("usage_usec 1500000\nuser_usec 1\n") == 1.5
    assert _resident("cache 5\nrss 1\ntotal_rss 9\n") == _resident("anon 9\nfile 5\n") == 9
    assert host_of("https://index.docker.io/v1/") == "docker.io"
    assert host_of("https://reg.example:5000/v2/") == host_of("reg.example:5000")
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    with pytest.raises(ValueError, match="on this machine"):
        find_socket()
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/x.sock")
    assert find_socket() == "/run/x.sock"


def test_the_page_for_people_lists_every_option() -> None:
    """docs/containers.md names exactly the options that are allowed, guarded and refused."""
    page = (Path(__file__).parents[2] / "docs/containers.md").read_text(encoding="utf-8")
    rooms = page.partition("## Options of `docker run`")[2].partition("\n## ")[0].split("\n\n")
    words = re.compile(r"`(?:--)?([a-z][a-z-]+)[^`]*`")
    free, guarded = (
        set(words.findall(next(room for room in rooms if room.startswith("> ") and sign in room)))
        for sign in ("--add-host", "`cap-add`")
    )
    never = set(words.findall(next(room for room in rooms if room.startswith("Never"))))

    assert free == set(FREE)
    assert guarded - {"host", "container"} == GUARDED.keys() | BY_VALUE.keys()
    assert never == set(NEVER)


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_streams_of_a_step_stay_in_its_folders(tmp_path: Path, stream: str) -> None:
    """A step's files are its own task's: nothing else in an image can be reached from here."""
    room = Rooms(tmp_path).take()
    task = TaskSpec.model_validate({"steps": [SPEC | {stream: "/etc/x"}]})

    with pytest.raises(CannotRun, match=rf"/etc/x: {stream} of a step must be below"):
        Clerk("w", (), None).order((1, 1), 0, task, room, Share("1", "1"))
