"""The machine under every order of events that hypothesis can think of."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Outcome, Phase, Signal
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
    {"steps": [{"command": "a", "container": "busybox"}]},
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
        self.queue: list[Ref] = []  # what the keeper has queued
        self.slots = 0
        self.orders: list[moves.Action] = []  # on their way to the keeper
        self.mail: list[moves.Event] = []  # on its way from the keeper
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
                case moves.StartStep() | moves.SendSignal() | moves.Withdraw() | moves.SetSlots():
                    self.orders.append(action)
                case moves.SetDeadline(ref, phase, _):
                    self.deadlines.append(moves.DeadlinePassed(ref, phase))
                case moves.TellEnded(ref, verdict):
                    self.ended[ref] += 1
                    if verdict.outcome is Outcome.REFUSED:
                        assert not any(ran == ref for ran, _ in self.ran)

    def obey(self, order: moves.Action) -> None:
        """Do as the keeper does."""
        match order:
            case moves.StartStep(ref, _, True):
                self.queue.append(ref)
            case moves.StartStep(ref, step):
                self.start(ref, step)
            case moves.SetSlots(count):
                self.slots = count
            case moves.Withdraw(ref) if ref in self.queue:
                self.queue.remove(ref)
                self.mail.append(moves.Withdrawn(ref))
            case moves.Withdraw(ref) if ref in self.running:
                self.mail.append(moves.StepStarted(ref))
            case moves.SendSignal(ref, _, signal, cause) if signal in (Signal.TERM, Signal.KILL):
                self.told_to_end.setdefault(ref, cause)
        self.advance()

    def start(self, ref: Ref, step: int) -> None:
        assert ref not in self.running
        self.running[ref] = step
        self.ran[ref, step] += 1

    def advance(self) -> None:
        while self.queue and len(self.running) < self.slots:
            self.start(self.queue.pop(0), 0)

    @rule(count=st.integers(1, 5))
    def deliver_orders(self, count: int) -> None:
        for order in self.orders[:count]:
            self.obey(order)
        del self.orders[:count]

    @rule(count=st.integers(1, 5))
    def deliver_mail(self, count: int) -> None:
        while self.mail and count:
            self.feed(self.mail.pop(0))
            count -= 1

    def deliver_orders_now(self) -> None:
        while self.orders or self.mail:
            for order in self.orders:
                self.obey(order)
            self.orders.clear()
            while self.mail:
                self.feed(self.mail.pop(0))

    @rule(mean=st.sampled_from([0.001, 0.1, 1.0]))
    def change_pace(self, mean: float) -> None:
        self.machine.pace(mean)

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

    @rule(data=st.data(), cause=st.sampled_from([Cause.INPUT, Cause.IMAGE, Cause.DISK]))
    def refused_for_now(self, data: st.DataObject, cause: Cause) -> None:
        ref = self.pick(data, self.staging_in)
        if ref is not None:
            self.staging_in.discard(ref)
            self.feed(moves.StageInFailed(ref, "not now", cause, transient=True))

    @rule(full=st.sampled_from(["", "", "disk full"]))
    def look_at_the_disk(self, full: str) -> None:
        self.feed(moves.DiskLookedAt(full))

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
            full = "disk full" if code and not cause else ""
            self.mail.append(moves.StepExited(ref, step, code, cause=cause, ran=0.001, full=full))
            self.advance()

    @rule(data=st.data())
    def fail_to_start(self, data: st.DataObject) -> None:
        ref = self.pick(data, self.running)
        if ref is not None:
            self.mail.append(moves.StepFailedToStart(ref, self.running.pop(ref), "not found"))
            self.advance()

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
        if not self.orders and not self.mail:
            assert set(self.running) == set(self.machine.phases[Phase.RUNNING])
            assert self.queue == list(self.machine.queue)

    def teardown(self) -> None:
        """Let the world come to rest: every lease has ended exactly once, or was fenced."""
        self.feed(moves.WorkerStopped())
        while self.orders or self.mail or self.running:
            self.deliver_orders_now()
            self.believable()
            if self.running:
                ref, step = self.running.popitem()
                self.mail.append(moves.StepExited(ref, step, signal=15, cause="stopped"))
                self.advance()
        for ref in self.leased - self.fenced:
            assert self.ended[ref] == 1, ref
        assert not self.machine.phases[Phase.RUNNING]


TestWorker = Worker.TestCase
TestWorker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
