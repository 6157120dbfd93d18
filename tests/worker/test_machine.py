"""The machine's decisions, one by one."""

import pytest
from machine_bench import (
    MOUNT,
    Bench,
    queued,
    returned,
    short_tasks,
    spec,
    started,
    verdict,
)

from pytq.schema import limits
from pytq.schema.states import Cause, Outcome, Phase, Signal
from pytq.schema.views import WorkerSettings
from pytq.worker import moves
from pytq.worker.machine import ImpossibleMove, Machine


def test_no_more_than_concurrency_run() -> None:
    """Leases beyond the slots wait untouched; each free slot takes the oldest."""
    bench = Bench(concurrency=2)

    assert started(bench.lease(1, 2, 3, 4)) == [(1, 1), (2, 1)]
    assert bench.phase(3) is Phase.ASSIGNED
    assert started(bench.exit(2)) == [(3, 1)]


def test_steps_run_in_order_until_one_fails() -> None:
    """A step's failure ends the task, unless it is to be ignored."""
    bench = Bench(concurrency=1)
    ignored = {"command": "false", "ignore_error": True}
    bench.lease(1, of=spec(ignored, {"command": "false"}, {"command": "never"}))

    assert bench.exit(1, 0, code=1) == [moves.StartStep((1, 1), 1)]
    assert verdict(bench.exit(1, 1, code=1)) == (Outcome.FAILED, Cause.EXIT)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"code": 0}, (Outcome.SUCCEEDED, None)),
        ({"code": 3}, (Outcome.FAILED, Cause.EXIT)),
        ({"signal": 11}, (Outcome.FAILED, Cause.SIGNAL)),
        ({"signal": 15, "cause": "cancelled"}, (Outcome.CANCELLED, Cause.CANCELLED)),
        ({"code": 0, "cause": "cancelled"}, (Outcome.CANCELLED, Cause.CANCELLED)),
        ({"signal": 9, "cause": "timeout"}, (Outcome.FAILED, Cause.TIMEOUT)),
        ({"signal": 9, "cause": "lease"}, (Outcome.LOST, Cause.LOST)),
        ({"signal": 9, "cause": "stopped"}, (Outcome.LOST, Cause.LOST)),
        ({"cause": "vanished"}, (Outcome.LOST, Cause.LOST)),
    ],
)
def test_an_exit_means(how: dict[str, object], expected: tuple[Outcome, Cause | None]) -> None:
    """Each way to end has its outcome and its cause."""
    bench = Bench(concurrency=1)
    bench.lease(1)

    assert verdict(bench.exit(1, **how)) == expected


def test_a_command_that_cannot_start_fails() -> None:
    """What cannot be started failed because of its command; a full disk is nobody's fault."""
    bench = Bench(concurrency=2)
    bench.lease(1, 2)
    full = moves.StepFailedToStart((2, 1), 0, "no space left", Cause.DISK)

    assert verdict(bench.do(moves.StepFailedToStart((1, 1), 0, "not found"))) == (
        Outcome.FAILED,
        Cause.COMMAND,
    )
    assert verdict(bench.do(full)) == (Outcome.REFUSED, Cause.DISK)


def test_a_signal_that_comes_too_late_loses_to_success() -> None:
    """A task that had ended well before its cancel arrived has succeeded."""
    bench = Bench(concurrency=1)
    bench.lease(1)
    sent = bench.do(moves.Signalled((1, 1), Signal.TERM))

    assert sent == [moves.SendSignal((1, 1), 0, Signal.TERM, "cancelled")]
    assert verdict(bench.exit(1, code=0)) == (Outcome.SUCCEEDED, None)


def test_a_cancel_between_steps_is_kept() -> None:
    """A cancel that a step did not notice ends the task before the next step."""
    bench = Bench(concurrency=1)
    bench.lease(1, of=spec({"command": "a"}, {"command": "b"}))
    bench.do(moves.Signalled((1, 1), Signal.TERM))

    assert verdict(bench.exit(1, code=0)) == (Outcome.CANCELLED, Cause.CANCELLED)


@pytest.mark.parametrize("phase", [Phase.ASSIGNED, Phase.DOWNLOADING, Phase.READY])
def test_cancel_before_it_started(phase: Phase) -> None:
    """What has not started is cancelled at once."""
    bench = Bench(concurrency=1, prefetch=0 if phase is Phase.ASSIGNED else 1)
    bench.lease(1)
    bench.lease(2, of=spec(mounts=[MOUNT]) if phase is not Phase.ASSIGNED else None)
    if phase is Phase.READY:
        bench.do(moves.StagedIn((2, 1)))
    assert bench.phase(2) is phase

    assert verdict(bench.do(moves.Signalled((2, 1), Signal.KILL)))[0] is Outcome.CANCELLED


def test_run_timeout_ends_the_task() -> None:
    """A task that runs longer than it may is ended, and failed with cause timeout."""
    bench = Bench(concurrency=1)
    leased = bench.lease(1, of=spec(timeouts={"run": 5.0}))
    assert moves.SetDeadline((1, 1), Phase.RUNNING, 5.0) in leased

    sent = bench.do(moves.DeadlinePassed((1, 1), Phase.RUNNING))

    assert sent == [moves.SendSignal((1, 1), 0, Signal.TERM, "timeout")]
    assert verdict(bench.exit(1, signal=15)) == (Outcome.FAILED, Cause.TIMEOUT)


def test_concurrency_is_tuned_live() -> None:
    """Raised, it takes effect at once; lowered, running tasks finish and the rest goes back."""
    bench = Bench(concurrency=1, prefetch=2)
    bench.lease(1, 2, 3)

    assert started(bench.do(moves.SettingsChanged(WorkerSettings(concurrency=2, prefetch=1)))) == [
        (2, 1)
    ]
    assert returned(bench.do(moves.SettingsChanged(WorkerSettings(concurrency=1)))) == [3]
    assert bench.phase(2) is Phase.RUNNING
    assert not started(bench.exit(1))


def test_the_pipeline_grows_with_short_tasks_only() -> None:
    """Leases are held ahead only while tasks take milliseconds; those that wait go back."""
    bench = Bench(concurrency=4)
    assert bench.machine.capacity == 4
    bench.machine.pace(0.002)
    assert 100 < bench.machine.capacity <= 4 + limits.PIPELINE

    bench.machine.pace(0.2)
    bench.lease(*range(1, 20))
    bench.now += 1.5

    assert returned(bench.do(moves.Ticked())) == list(range(8, 20))
    assert bench.machine.capacity == 4


def test_short_tasks_are_queued_at_the_keeper() -> None:
    """While tasks are short the keeper has the next at hand, and starts it by itself."""
    bench = Bench(concurrency=1)
    bench.machine.pace(0.001)

    assert queued(bench.lease(*range(1, 101))) == list(range(2, 13))
    assert bench.phase(2) is Phase.ASSIGNED
    assert not started(bench.exit(1))
    assert bench.phase(2) is Phase.RUNNING


def test_what_does_more_than_run_is_not_queued() -> None:
    """A slot that outlasts its process cannot be given on by the keeper."""
    bench = short_tasks(1)
    bench.lease(2, of=spec({"command": "a"}, {"command": "b"}))

    assert not queued(bench.lease(3))
    assert started(bench.exit(1)) == [(2, 1)]
    assert not bench.machine.queue


def test_what_is_queued_can_be_withdrawn() -> None:
    """Taking back waits for the keeper's word: it may have started meanwhile."""
    bench = short_tasks(1, 2)
    assert bench.do(moves.TookBack(1)) == [moves.Withdraw((2, 1))]

    assert returned(bench.do(moves.Withdrawn((2, 1)))) == [2]
    bench = short_tasks(1, 2)
    bench.do(moves.TookBack(1))
    bench.do(moves.StepStarted((2, 1)))
    assert bench.phase(2) is Phase.RUNNING


@pytest.mark.parametrize("too_late", [True, False])
def test_cancelling_what_is_queued(too_late: bool) -> None:
    """A queued execution is cancelled whether or not the keeper had started it."""
    bench = short_tasks(1, 2)
    bench.do(moves.Signalled((2, 1), Signal.KILL))
    if too_late:
        sent = bench.do(moves.StepStarted((2, 1)))
        assert moves.SendSignal((2, 1), 0, Signal.TERM, "cancelled") in sent
        ended = bench.exit(2, signal=15, cause="cancelled")
    else:
        ended = bench.do(moves.Withdrawn((2, 1)))

    assert verdict(ended)[0] is Outcome.CANCELLED


def test_a_lost_queue_is_asked_for_anew() -> None:
    """What a new keeper knows nothing of is queued again, or given up as was wanted."""
    bench = short_tasks(1, 2)
    assert queued(bench.do(moves.QueueLost())) == [2]

    bench.do(moves.TookBack(1))
    assert returned(bench.do(moves.QueueLost())) == [2]


def test_fenced_is_stopped_and_not_told() -> None:
    """What belongs to another worker is killed and forgotten without a word."""
    bench = Bench(concurrency=1)
    bench.lease(1, 2)

    assert bench.do(moves.Fenced((1, 1))) == [moves.SendSignal((1, 1), 0, Signal.KILL, "fenced")]
    assert bench.do(moves.Fenced((2, 1))) == [moves.Drop((2, 1))]
    assert bench.exit(1, signal=9, cause="fenced") == [moves.Drop((1, 1), 1)]
    assert not bench.machine.executions


def test_nothing_starts_before_the_server_has_spoken() -> None:
    """What was found again waits: it may have been handed on meanwhile."""
    machine = Machine(WorkerSettings(concurrency=1))

    assert not machine.on(moves.Restored((1, 1), spec(), Phase.ASSIGNED), 0.0)
    assert started(machine.on(moves.SettingsChanged(WorkerSettings()), 0.0)) == [(1, 1)]


def test_stopping_ends_everything() -> None:
    """Told to end with its tasks, a worker hands back what waits and loses what runs."""
    bench = Bench(concurrency=1)
    bench.lease(1, 2)

    assert returned(bench.do(moves.WorkerStopped())) == [2]
    assert verdict(bench.exit(1, signal=15, cause="stopped")) == (Outcome.LOST, Cause.LOST)


def test_an_impossible_event_tells_its_story() -> None:
    """An event that cannot be is a bug, and its error tells what came before."""
    bench = Bench(concurrency=1)
    bench.lease(1)

    with pytest.raises(ImpossibleMove, match=r"StagedOut.*while running, after: Leased"):
        bench.do(moves.StagedOut((1, 1)))


def test_events_of_the_forgotten_are_ignored() -> None:
    """What was settled may still be spoken of."""
    bench = Bench(concurrency=1)

    assert not bench.exit(99)


def test_a_paused_execution_is_told_as_paused() -> None:
    """Pausing reaches the processes and the server."""
    bench = Bench(concurrency=1)
    bench.lease(1)

    told = bench.do(moves.Signalled((1, 1), Signal.PAUSE))

    assert moves.TellPhase((1, 1), Phase.RUNNING, bench.now, paused=True) in told
    assert moves.SendSignal((1, 1), 0, Signal.PAUSE, "") in told
