"""What the machine decides about inputs, outputs, prefetch and a full disk."""

import pytest
from machine_bench import (
    MOUNT,
    OUTPUT,
    Bench,
    queued,
    returned,
    short_tasks,
    spec,
    started,
    verdict,
)

from pytq.schema.states import Cause, Outcome, Phase
from pytq.schema.views import WorkerSettings
from pytq.worker import moves


def test_prefetch_stages_ahead() -> None:
    """Up to `prefetch` more than can run are staged, and start the moment a slot is free."""
    bench = Bench(concurrency=1, prefetch=1)
    staged = bench.lease(1, 2, 3, of=spec(mounts=[MOUNT]))

    assert [a.ref[0] for a in staged if isinstance(a, moves.StageIn)] == [1, 2]
    assert started(bench.do(moves.StagedIn((2, 1)))) == [(2, 1)]
    bench.do(moves.StagedIn((1, 1)))
    assert bench.phase(1) is Phase.READY
    assert started(bench.exit(2)) == [(1, 1)]
    assert bench.phase(3) is Phase.DOWNLOADING


def test_who_fetches_ahead_asks_at_once() -> None:
    """With prefetch the next lease is wanted as soon as there is nothing left to fetch for."""
    bench = Bench(concurrency=1, prefetch=1)
    bench.lease(1, 2, 3, of=spec(mounts=[MOUNT]))
    bench.do(moves.StagedIn((1, 1)), moves.StagedIn((2, 1)))

    assert not bench.machine.hungry
    bench.exit(1)
    assert bench.machine.hungry
    bench.lease(4, of=spec(mounts=[MOUNT]))
    assert not bench.machine.hungry


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (moves.StageInFailed((1, 1), "no such file"), (Outcome.FAILED, Cause.INPUT)),
        (moves.StageInFailed((1, 1), "no such image", Cause.IMAGE), (Outcome.FAILED, Cause.IMAGE)),
        (
            moves.StageInFailed((1, 1), "nobody answers", transient=True),
            (Outcome.REFUSED, Cause.INPUT),
        ),
        (moves.StageInFailed((1, 1), "disk full", Cause.DISK), (Outcome.REFUSED, Cause.DISK)),
    ],
)
def test_what_cannot_be_staged_fails_or_goes_elsewhere(
    failed: moves.StageInFailed, expected: tuple[Outcome, Cause]
) -> None:
    """What nobody could fetch fails; what may come another time, or elsewhere, is refused."""
    bench = Bench(concurrency=1)
    bench.lease(1, of=spec(mounts=[MOUNT]))

    assert verdict(bench.do(failed)) == expected


def test_an_image_is_staged_like_an_input() -> None:
    """A task in a container waits for its image, and never at the keeper for its slot."""
    bench = short_tasks(1)
    contained = spec({"command": "a", "container": "busybox"})

    assert moves.StageIn((2, 1)) not in bench.lease(2, of=contained)
    assert moves.StageIn((2, 1)) in bench.exit(1)
    assert started(bench.do(moves.StagedIn((2, 1)))) == [(2, 1)]
    assert not queued(bench.lease(3))


def test_a_full_disk_takes_nothing_new() -> None:
    """A worker whose disk is full asks for nothing and hands back what it has not touched."""
    bench = Bench(concurrency=1, prefetch=1)
    bench.lease(1, 2, 3)
    told = bench.do(moves.DiskLookedAt("disk full: /scratch"))

    assert returned(told) == [3]
    assert bench.machine.capacity == 0
    assert started(bench.exit(1)) == [(2, 1)]  # what is ready needs no more room
    assert returned(bench.lease(4)) == [4]
    bench.do(moves.DiskLookedAt(""))
    assert bench.machine.capacity == 2


def test_one_refusal_for_want_of_room_is_enough() -> None:
    """After a task found the disk full the worker asks for nothing until somebody has looked."""
    bench = Bench(concurrency=2)
    bench.lease(1, of=spec(mounts=[MOUNT]))
    bench.do(moves.StageInFailed((1, 1), "disk full: /scratch", Cause.DISK))

    assert bench.machine.capacity == 0
    assert bench.machine.full == "disk full: /scratch"


def test_a_command_that_fails_on_a_full_disk_is_not_to_blame() -> None:
    """When there was no room left, a failure is nobody's fault and names the disk."""
    bench = Bench(concurrency=1)
    bench.lease(1)
    ended = bench.exit(1, code=1, full="disk full: /scratch")

    assert verdict(ended) == (Outcome.LOST, Cause.DISK)
    bench.do(moves.DiskLookedAt(""))
    bench.lease(2)
    assert verdict(bench.exit(2, code=0, full="disk full: /scratch")) == (Outcome.SUCCEEDED, None)


def test_success_only_when_the_output_is_safe() -> None:
    """Outputs are carried away after success and failure; losing them fails a success."""
    bench = Bench(concurrency=2)
    bench.lease(1, 2, of=spec(outputs=[OUTPUT]))

    assert moves.StageOut((1, 1)) in bench.exit(1)
    assert moves.StageOut((2, 1)) in bench.exit(2, code=7)
    assert verdict(bench.do(moves.StageOutFailed((1, 1), "no"))) == (Outcome.FAILED, Cause.OUTPUT)
    assert verdict(bench.do(moves.StagedOut((2, 1)))) == (Outcome.FAILED, Cause.EXIT)


@pytest.mark.parametrize("how", ["paused", "draining"])
def test_closing_hands_back_what_has_not_started(how: str) -> None:
    """A paused or draining worker starts nothing new, and keeps what runs."""
    bench = Bench(concurrency=1, prefetch=1)
    bench.lease(1, 2, 3)
    closed = WorkerSettings.model_validate({"concurrency": 1, "prefetch": 1, how: True})

    assert returned(bench.do(moves.SettingsChanged(closed))) == [3, 2]
    assert bench.phase(1) is Phase.RUNNING
    assert bench.machine.capacity == 0


def test_take_back_takes_the_youngest_untouched() -> None:
    """The server may take back what has not started: the youngest first."""
    bench = Bench(concurrency=1)
    bench.lease(1, 2, 3)

    assert returned(bench.do(moves.TookBack(1))) == [3]
    assert returned(bench.do(moves.TookBack(10))) == [2]


def test_take_back_spares_what_has_cost_most() -> None:
    """Inputs under way are given up before inputs that have come."""
    bench = Bench(concurrency=1, prefetch=2)
    bench.lease(1, 2, 3, of=spec(mounts=[MOUNT]))
    bench.do(moves.StagedIn((1, 1)), moves.StagedIn((3, 1)))
    given_up = bench.do(moves.TookBack(1))

    assert returned(given_up) == [2]
    assert moves.StopStaging((2, 1)) in given_up
    assert returned(bench.do(moves.TookBack(1))) == [3]
