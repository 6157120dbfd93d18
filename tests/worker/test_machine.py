"""The machine's decisions, one by one."""

import pytest

from pytq.schema import limits
from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Outcome, Phase, Signal
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import WorkerSettings
from pytq.worker import moves
from pytq.worker.machine import ImpossibleMove, Machine
from pytq.worker.moves import Action, Event, TellEnded

MOUNT = {"source": "file:///data/x", "path": "/input/x"}
OUTPUT = {"path": "/output", "destination": "file:///out/", "directory": True}


def spec(*steps: dict[str, object], **more: object) -> TaskSpec:
    return TaskSpec.model_validate({"steps": list(steps) or [{"command": "true"}], **more})


class Bench:
    """A machine with a clock, that remembers what it was told to do."""

    def __init__(self, **settings: int) -> None:
        self.now = 1000.0
        self.machine = Machine(WorkerSettings())
        self.do(moves.SettingsChanged(WorkerSettings(**settings)))
        self.machine.pace(1.0)  # tasks have not been short of late

    def do(self, *events: Event) -> list[Action]:
        actions: list[Action] = []
        for event in events:
            actions += self.machine.on(event, self.now)
            self.machine.validate()
        return actions

    def lease(self, *numbers: int, of: TaskSpec | None = None) -> list[Action]:
        return self.do(*(moves.Leased((n, 1), of or spec()) for n in numbers))

    def exit(self, number: int, step: int = 0, **how: object) -> list[Action]:
        how = {"code": 0} | how if "signal" not in how else how
        return self.do(moves.StepExited((number, 1), step, **how))

    def phase(self, number: int) -> Phase | None:
        execution = self.machine.executions.get((number, 1))
        return execution.phase if execution else None


def verdict(actions: list[Action]) -> tuple[Outcome, Cause | None]:
    (told,) = [action.verdict for action in actions if isinstance(action, TellEnded)]
    return told.outcome, told.cause


def started(actions: list[Action]) -> list[Ref]:
    starts = [action for action in actions if isinstance(action, moves.StartStep)]
    return [action.ref for action in starts if not action.ahead]


def queued(actions: list[Action]) -> list[int]:
    starts = [action for action in actions if isinstance(action, moves.StartStep)]
    return [action.ref[0] for action in starts if action.ahead]


def returned(actions: list[Action]) -> list[int]:
    told = [action for action in actions if isinstance(action, TellEnded)]
    assert all(action.verdict.cause is Cause.RETURNED for action in told)
    return [action.ref[0] for action in told]


def test_no_more_than_concurrency_run() -> None:
    """Leases beyond the slots wait untouched; each free slot takes the oldest."""
    bench = Bench(concurrency=2)

    assert started(bench.lease(1, 2, 3, 4)) == [(1, 1), (2, 1)]
    assert bench.phase(3) is Phase.ASSIGNED
    assert started(bench.exit(2)) == [(3, 1)]


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


def short_tasks(*numbers: int) -> Bench:
    """A bench with one slot, where tasks have been short."""
    bench = Bench(concurrency=1)
    bench.machine.pace(0.05)
    bench.lease(*numbers)
    return bench


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
