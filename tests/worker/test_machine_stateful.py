"""The machine under every order of events that hypothesis can think of."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pytq.schema.frames import Ref
from pytq.schema.states import Outcome, Phase, Signal
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import WorkerSettings
from pytq.worker import moves
from pytq.worker.machine import Machine

SPECS = [
    {"steps": [{"command": "a"}]},
    {"steps": [{"command": "a", "ignore_error": True}, {"command": "b"}]},
    {"steps": [{"command": "a"}], "mounts": [{"source": "file:///x", "path": "/input/x"}]},
    {
        "steps": [{"command": "a"}],
        "mounts": [{"content": "x", "path": "/input/x"}],
        "outputs": [{"path": "/output", "destination": "file:///o/", "directory": True}],
        "timeouts": {"run": 1.0, "download": 1.0, "upload": 1.0},
    },
]


class Worker(RuleBasedStateMachine):
    """A machine, and a world that obeys its actions in any order and at any pace."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1.0
        self.machine = Machine(WorkerSettings(concurrency=2, prefetch=1))
        self.leased: set[Ref] = set()
        self.ended: Counter[Ref] = Counter()
        self.fenced: set[Ref] = set()
        self.running: dict[Ref, int] = {}  # what the keeper runs, by step
        self.ran: Counter[tuple[Ref, int]] = Counter()
        self.told_to_end: dict[Ref, str] = {}
        self.staging_in: set[Ref] = set()
        self.staging_out: set[Ref] = set()
        self.deadlines: list[moves.DeadlinePassed] = []
        self.feed(moves.SettingsChanged(self.machine.settings))

    def feed(self, event: moves.Event) -> None:
        for action in self.machine.on(event, self.now):
            match action:
                case moves.StageIn(ref):
                    self.staging_in.add(ref)
                case moves.StageOut(ref):
                    self.staging_out.add(ref)
                case moves.StartStep(ref, step):
                    assert ref not in self.running
                    self.running[ref] = step
                    self.ran[ref, step] += 1
                case moves.SendSignal(ref, _, signal, cause):
                    if signal in (Signal.TERM, Signal.KILL):
                        self.told_to_end.setdefault(ref, cause)
                case moves.SetDeadline(ref, phase, _):
                    self.deadlines.append(moves.DeadlinePassed(ref, phase))
                case moves.TellEnded(ref, verdict):
                    self.ended[ref] += 1
                    if verdict.outcome is Outcome.REFUSED:
                        assert not any(ran == ref for ran, _ in self.ran)

    def pick(self, data: st.DataObject, refs: object) -> Ref | None:
        known = sorted(refs)  # type: ignore[call-overload]
        return data.draw(st.sampled_from(known)) if known else None

    @rule(spec=st.sampled_from(SPECS), again=st.booleans())
    def lease(self, spec: dict[str, object], again: bool) -> None:
        ref = (len(self.leased) + 1, 1)
        self.leased.add(ref)
        for _ in range(1 + again):
            self.feed(moves.Leased(ref, TaskSpec.model_validate(spec)))

    @rule(seconds=st.sampled_from([0.001, 0.1, 2.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.feed(moves.Ticked())

    @rule(
        concurrency=st.integers(0, 4),
        prefetch=st.integers(0, 3),
        how=st.sampled_from([{}, {}, {"paused": True}, {"draining": True}, {"batch": "other"}]),
    )
    def tune(self, concurrency: int, prefetch: int, how: dict[str, object]) -> None:
        known = {"concurrency": concurrency, "prefetch": prefetch, **how}
        self.feed(moves.SettingsChanged(WorkerSettings.model_validate(known)))

    @rule(count=st.integers(1, 5))
    def take_back(self, count: int) -> None:
        self.feed(moves.TookBack(count))

    @rule(data=st.data(), error=st.booleans())
    def staged_in(self, data: st.DataObject, error: bool) -> None:
        ref = self.pick(data, self.staging_in)
        if ref is not None:
            self.staging_in.discard(ref)
            self.feed(moves.StageInFailed(ref, "no") if error else moves.StagedIn(ref))

    @rule(data=st.data(), error=st.booleans())
    def staged_out(self, data: st.DataObject, error: bool) -> None:
        ref = self.pick(data, self.staging_out)
        if ref is not None:
            self.staging_out.discard(ref)
            self.feed(moves.StageOutFailed(ref, "no") if error else moves.StagedOut(ref))

    @rule(data=st.data(), code=st.sampled_from([0, 0, 1]), vanish=st.booleans())
    def exit(self, data: st.DataObject, code: int, vanish: bool) -> None:
        ref = self.pick(data, self.running)
        if ref is not None:
            step = self.running.pop(ref)
            cause = "vanished" if vanish else self.told_to_end.get(ref, "")
            self.feed(moves.StepExited(ref, step, code, cause=cause))

    @rule(data=st.data())
    def fail_to_start(self, data: st.DataObject) -> None:
        ref = self.pick(data, self.running)
        if ref is not None:
            self.feed(moves.StepFailedToStart(ref, self.running.pop(ref), "not found"))

    @rule(data=st.data(), signal=st.sampled_from(Signal))
    def signal(self, data: st.DataObject, signal: Signal) -> None:
        ref = self.pick(data, self.leased)
        if ref is not None:
            self.feed(moves.Signalled(ref, signal))

    @rule(data=st.data())
    def fence(self, data: st.DataObject) -> None:
        ref = self.pick(data, self.machine.executions)
        if ref is not None:
            self.fenced.add(ref)
            self.feed(moves.Fenced(ref))

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        ref = self.pick(data, self.machine.phases[Phase.ENDED])
        if ref is not None:
            self.feed(moves.Settled(ref))

    @rule(data=st.data())
    def deadline(self, data: st.DataObject) -> None:
        if self.deadlines:
            self.feed(self.deadlines.pop(data.draw(st.integers(0, len(self.deadlines) - 1))))

    @invariant()
    def believable(self) -> None:
        self.machine.validate()
        assert all(count == 1 for count in self.ended.values())
        assert all(count == 1 for count in self.ran.values())
        occupied = set(self.machine.phases[Phase.RUNNING])
        assert set(self.running) == occupied

    def teardown(self) -> None:
        """Let the world come to rest: every lease has ended exactly once, or was fenced."""
        self.feed(moves.WorkerStopped())
        while self.running:
            ref, step = self.running.popitem()
            self.feed(moves.StepExited(ref, step, signal=15, cause="stopped"))
        for ref in self.leased - self.fenced:
            assert self.ended[ref] == 1, ref
        assert not self.machine.phases[Phase.RUNNING]


TestWorker = Worker.TestCase
TestWorker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
