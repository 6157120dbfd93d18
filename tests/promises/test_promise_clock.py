"""Wall clocks that are wrong, or jump: nothing is decided by them."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sites import LEASE, Site, until

Open = Callable[..., Site]


@pytest.fixture
def clock(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Environments whose wall clock is wrong by so much; time that only counts goes right."""
    (library,) = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")] or [None]
    if library is None:
        pytest.skip("not installed: faketime; scripts/system-packages installs it")

    def wrong(by: str) -> dict[str, str]:
        (tmp_path / "clock").write_text(by)
        kept = {"FAKETIME_TIMESTAMP_FILE": f"{tmp_path}/clock", "FAKETIME_NO_CACHE": "1"}
        only = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
        return {"LD_PRELOAD": str(library), **kept, **only}

    return wrong


@pytest.mark.parametrize("by", ["-1d", "+1d"])
def test_a_worker_whose_clock_is_wrong(
    site: Open, clock: Callable[[str], dict[str, str]], by: str
) -> None:
    """A day before or behind its server, a worker works, and its history is told as if it were."""
    one = site(PYTQ_LEASE_SECONDS=str(LEASE))
    one.env |= clock(by)
    one.start_agent(2)
    [task] = one.submit(one.trace("date +%s; sleep 3"))
    [ended] = one.ended([task])
    [only] = one.tries(task)
    times = [only[f"{what}_at"] for what in ("assigned", "running", "ended")]

    assert ended["status"] == "succeeded"
    assert times == sorted(times)
    assert times[-1][:10] == one.task(task)["changed_at"][:10]


def test_a_server_whose_clock_jumps(
    site: Open, clock: Callable[[str], dict[str, str]], tmp_path: Path, database_uri: str
) -> None:
    """The wall clock jumps by days under a server: leases and waiting do not notice."""
    one = site(database_uri, start=False)
    one.env |= clock("+0") | {"PYTQ_LEASE_SECONDS": str(LEASE)}
    one.start_server()
    for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE"):
        del one.env[name]
    one.start_agent(2)
    tasks = one.submit(*[one.trace("sleep 3; exit 4")] * 2)
    until(lambda: len(one.traces()) == 2, 20)
    for by in ("+2d", "-3d", "+1d"):
        (tmp_path / "clock").write_text(by)
        time.sleep(0.7)  # a few looks at who is silent
    one.ended(tasks)

    assert [[each["exit_code"] for each in one.tries(number)] for number in tasks] == [[4], [4]]
    assert one.traces() == {f"{number}.1": 1 for number in tasks}
