"""What the tests of the machine are made of: a machine with a clock, and words for its actions."""

from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Outcome, Phase
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import WorkerSettings
from pytq.worker import moves
from pytq.worker.machine import Machine
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


def short_tasks(*numbers: int) -> Bench:
    """A bench with one slot, where tasks have been short."""
    bench = Bench(concurrency=1)
    bench.machine.pace(0.05)
    bench.lease(*numbers)
    return bench
