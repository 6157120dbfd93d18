"""Tasks live through whatever becomes of their worker and of their server, and each runs once.

`PYTQ_LONG=1` (`make soak`) stretches the pauses to what people would call an outage.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from installed import Installed
from private_docker import BUSYBOX, PrivateDocker, docker_or_skip
from sites import LONG, Site

Open = Callable[..., Site]
AGENT_AWAY = 20.0 if LONG else 3.0  # seconds
SERVER_AWAY = 120.0 if LONG else 6.0
PROCESSES, CONTAINERS = 20, 5
LINES = 3000  # of output at the beginning, and as many at the end


@pytest.fixture(scope="module")
def dockerd() -> Iterator[PrivateDocker]:
    """A dockerd of this file's own."""
    with docker_or_skip() as one:
        yield one


@pytest.fixture
def docker(dockerd: PrivateDocker) -> Iterator[PrivateDocker]:
    yield dockerd
    dockerd.clear()


def commands(site: Site, pause: float) -> list[dict[str, Any]]:
    """Tasks that write, wait and write: some end during a pause, some after it."""
    tasks: list[dict[str, Any]] = []
    for number in range(PROCESSES + CONTAINERS):
        nap = pause * (0.2 + 1.8 * (number % PROCESSES) / PROCESSES)
        place = "/data" if number >= PROCESSES else site.runs.parent
        script = (
            f"echo $PYTQ_TASK.$PYTQ_ATTEMPT >> {place}/runs; seq 1 {LINES};"
            f" sleep {nap:.1f}; seq {LINES + 1} {2 * LINES}; echo bye >&2; exit {number % 4}"
        )
        inside = {"container": BUSYBOX, "container_options": ["--network=none"]}
        tasks.append({"command": script} | (inside if number >= PROCESSES else {}))
    return tasks


@pytest.fixture
def begin(
    site: Open, usual: str | None, docker: PrivateDocker, tmp_path: Path
) -> Callable[..., Any]:
    """Start a server, a worker and all tasks; returns once every one of them runs."""

    def start(pause: float, uri: str | None = None, **how: Any) -> tuple[Site, list[int]]:
        one = site(
            uri or usual, DOCKER_HOST=docker.host, DOCKER_CONFIG=str(docker.room / "no-config")
        )
        one.runs = tmp_path / "shared/runs"
        one.runs.parent.mkdir()
        come_back(one, **how)
        one.online()
        ids = one.submit(*commands(one, pause))
        deadline = time.monotonic() + 60
        while len(one.traces()) < len(ids):
            assert time.monotonic() < deadline, one.log("w")
            time.sleep(0.02)
        return one, ids

    return start


def come_back(site: Site, **how: Any) -> "subprocess.Popen[bytes]":
    return site.start_agent(PROCESSES + CONTAINERS + 2, "w", "--data", site.runs.parent, **how)


def check(site: Site, ids: list[int]) -> None:
    """Every outcome is right, every output whole, and nothing ran twice."""
    ended = site.ended(ids, 120)
    tries = {number: site.tries(number) for number in ids}
    codes = {number: [each["exit_code"] for each in tries[number]] for number in ids}
    whole = "".join(f"{number}\n" for number in range(1, 2 * LINES + 1))

    assert codes == {ref: [n % 4] for n, ref in enumerate(ids)}, [one["reason"] for one in ended]
    assert [one["status"] for one in ended] == [
        "failed" if n % 4 else "succeeded" for n in range(len(ids))
    ]
    assert {n: text for n in ids if (text := site.output(n)) != whole} == {}
    assert {n: text for n in ids if (text := site.output(n, "stderr")) != "bye\n"} == {}
    assert site.traces() == dict.fromkeys((f"{number}.1" for number in ids), 1)


def test_kill_9_of_the_agent(begin: Callable[..., Any]) -> None:
    """Processes and containers outlive their agent: the next one tells of all of them, once."""
    site, ids = begin(AGENT_AWAY)
    site.workers[0].kill()
    site.workers[0].wait(10)
    time.sleep(AGENT_AWAY)
    come_back(site)

    check(site, ids)


def test_server_and_agent_away(begin: Callable[..., Any], database_uri: str) -> None:
    """With the server gone too, and an agent come back to nobody, not one outcome is missing."""
    site, ids = begin(SERVER_AWAY, database_uri)
    site.kill_server()
    site.workers[0].kill()
    site.workers[0].wait(10)
    time.sleep(SERVER_AWAY / 3)
    come_back(site)
    time.sleep(SERVER_AWAY * 2 / 3)
    site.start_server()

    check(site, ids)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"))


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *([signal.SIGTERM] if LONG else [])], ids=lambda number: number.name
)
def test_an_upgrade_under_running_tasks(
    begin: Callable[..., Any], installed: Installed, number: signal.Signals
) -> None:
    """Another version is installed over the one that runs: its agent takes all tasks over."""
    installed.install("0.9.1")
    site, ids = begin(AGENT_AWAY + 3, words=installed.words)
    assert site.crew()["w"]["version"] == "0.9.1"
    keeper = site.keeper_of()
    installed.install("0.9.2")
    # The old agent works on while its files change under it.
    (site.folder / "in").write_text("input\n")
    late = {"command": "cat /input/in", "inputs": [f"file://{site.folder}/in"]}
    late["container"], late["container_options"] = BUSYBOX, ["--network=none"]
    more = site.submit(
        late, {**late, "command": 'cat "$INPUT/in"', "container": None, "container_options": []}
    )
    assert [one["status"] for one in site.ended(more)] == ["succeeded"] * 2
    site.workers[0].send_signal(number)
    site.workers[0].wait(30)
    come_back(site, words=installed.words)
    check(site, ids)

    assert site.crew()["w"]["version"] == "0.9.2"
    assert site.keeper_of() == keeper
