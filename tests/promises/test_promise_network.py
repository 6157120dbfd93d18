"""Networks that are cut, cut by half, reset and lossy: shorter than the lease nothing happens."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from load import Load
from namespaces import Cable, FarSite, two_machines
from sites import LEASE, LONG, until

Far = tuple[FarSite, Cable]
BAD_SECONDS = 20.0 if LONG else 6.0


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Callable[[float], Far]]:
    """Open a server on one machine; a worker named `far` is to be on another one."""
    with two_machines() as (here, there, cable):
        opened: list[FarSite] = []

        def begin(lease: float) -> Far:
            site = FarSite(tmp_path, here, there)
            opened.append(site)
            site.env["PYTQ_LEASE_SECONDS"] = str(lease)
            site.start_server()
            site.start_agent(2, "far", prefix=there.prefix)
            site.online("far")
            return site, cable

        yield begin
        for site in opened:
            cable.mend()
            site.stop()


def test_a_short_partition(far: Callable[[float], Far]) -> None:
    """Cut for less than the lease: tasks go on, end meanwhile, and are told afterwards, once."""
    away = 60.0 if LONG else 6.0
    site, cable = far(away * 5)
    tasks = site.submit(site.trace("sleep 2; seq 3000; exit 3"), site.trace(f"sleep {away + 1}"))
    until(lambda: len(site.traces()) == 2, 20)
    cable.cut()
    time.sleep(away)
    cable.mend()
    site.ended(tasks, 90)

    assert [[each["exit_code"] for each in site.tries(number)] for number in tasks] == [[3], [0]]
    assert site.output(tasks[0]) == "".join(f"{number}\n" for number in range(1, 3001))
    assert site.traces() == {f"{number}.1": 1 for number in tasks}


@pytest.mark.parametrize("how", ["cut", "cut_half"])
def test_a_long_partition(far: Callable[[float], Far], how: str) -> None:
    """Cut for longer than the lease: the old side stops first, then it is handed on, once."""
    site, cable = far(LEASE)
    [task] = site.submit(site.pulse())
    until(site.pulses, 20)
    getattr(cable, how)()
    site.start_agent(1, "near", prefix=site.here.prefix)
    until(lambda: 2 in site.pulses(), 60, lambda: site.log("server"))
    cable.mend()
    site.online("far", 40)
    site.let_go()
    [ended] = site.ended([task])
    pulses = site.pulses()

    assert ended["status"] == "succeeded"
    assert [each["outcome"] for each in site.tries(task)] == ["lost", "succeeded"]
    assert [each["worker"] for each in site.tries(task)] == ["far", "near"]
    assert max(pulses[1]) < min(pulses[2])


@pytest.mark.parametrize("how", ["resets", "losses"])
def test_a_bad_network(far: Callable[[float], Far], how: str) -> None:
    """Connections that are reset, or lose a third of their packets: slower, and nothing twice."""
    site, cable = far(LEASE * 6)
    with Load(site, site.trace()).going_on() as load:
        load.grown_by(20)
        if how == "losses":
            cable.lose(0.3)
        deadline = time.monotonic() + BAD_SECONDS
        while time.monotonic() < deadline:
            if how == "resets":
                cable.refuse()
                time.sleep(0.3)
                cable.mend()
            time.sleep(0.7)
        cable.mend()
        load.grown_by(20)

    load.all_ran_once()
