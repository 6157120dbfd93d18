"""What a worker does next: events in, actions out. Touches nothing, reads no clock.

Slots: an execution takes one from the start of its first step until its outcome, the carrying
away of its outputs included, so that slow stores cannot pile up finished work. Up to `prefetch`
more may be staged ahead. Leases beyond that, the pipeline, lie untouched: they are for tasks so
short that asking for the next one would take longer than running it.
"""

import math
from collections.abc import Iterable
from itertools import islice
from typing import Final

from pytq.schema.frames import Ref
from pytq.schema.states import NOT_STARTED, Phase
from pytq.schema.views import WorkerSettings
from pytq.worker import verdicts
from pytq.worker.holdings import Execution, Holdings
from pytq.worker.lives import MOVES
from pytq.worker.moves import (
    Action,
    Circumstance,
    DiskLookedAt,
    Event,
    ExecutionEvent,
    Leased,
    LeaseLookedAt,
    QueueLost,
    Restored,
    SetDeadline,
    SetSlots,
    SettingsChanged,
    StageIn,
    StageOut,
    StartStep,
    StepExited,
    StepFailedToStart,
    StopStaging,
    Ticked,
    TookBack,
    WorkerStopped,
)

WAITED_SECONDS: Final = 1.0  # a pipelined lease that waited so long should go elsewhere
SLOTTED: Final = frozenset({Phase.RUNNING, Phase.UPLOADING})
LEAST_LOST_FIRST: Final = (Phase.ASSIGNED, Phase.DOWNLOADING, Phase.READY)
STORY: Final = 20  # events remembered of each execution


class ImpossibleMove(RuntimeError):  # noqa: N818 - a bug's name, not an error to handle
    """An event that cannot happen in this phase; the text tells what had happened before."""


class Machine(Holdings):
    """A worker's mind."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)

    # --- events

    def on(self, event: Event, now: float) -> list[Action]:
        """Take one event in; return what is to be done."""
        return self.take((event,), now)

    def take(self, events: Iterable[Event], now: float) -> list[Action]:
        """Take in all that happened at once; return what is to be done."""
        self.actions = []
        for event in events:
            self._note(event, now)
        self._fill(now)
        return self.actions

    def _note(self, event: Event, now: float) -> None:
        match event:
            case Leased():
                if event.ref not in self.executions:
                    self.add(Execution(event.ref, event.spec, leased=now), event)
            case Restored():
                self._restore(event, now)
            case SettingsChanged():
                self.greeted = True
                self._change(event.settings, now)
            case TookBack():
                self._return(event.count, now)
            case DiskLookedAt() | LeaseLookedAt() | QueueLost() | WorkerStopped() | Ticked():
                self._befall(event, now)
            case _:
                self._move(event, now)

    def _befall(self, event: Circumstance, now: float) -> None:
        """Take in what concerns all executions alike."""
        match event:
            case DiskLookedAt():
                self.full = event.full
            case LeaseLookedAt():
                if event.passed is not self.passed:
                    self._hold_on(passed=event.passed)
            case QueueLost():
                self._lose_queue(now)
            case WorkerStopped():
                self._stop(now)
            case Ticked():
                self._tire(now)

    def _move(self, event: ExecutionEvent, now: float) -> None:
        execution = self.executions.get(event.ref)
        if execution is None:
            return  # settled or fenced while the event was on its way
        story = execution.story
        story.append(event)
        if execution.ref in self.queue and isinstance(event, StepExited | StepFailedToStart):
            self.promote(execution, now)  # it ran before we knew that it had a slot
        move = MOVES.get((execution.phase, type(event)))
        if move is None:
            told = "; ".join(map(repr, story[-STORY:]))
            raise ImpossibleMove(f"{event!r} while {execution.phase}, after: {told}")
        if len(story) > 2 * STORY:
            del story[:STORY]
        move(self, execution, event, now)

    def _restore(self, event: Restored, now: float) -> None:
        execution = Execution(event.ref, event.spec, event.phase, event.step, leased=now)
        execution.cpu, execution.memory = event.cpu or None, event.memory or None
        if event.since:
            execution.entered[event.phase] = event.since
        self.add(execution, event)
        seconds = verdicts.timeout(event.spec.timeouts, event.phase)
        if seconds is not None:
            left = max(0.0, event.since + seconds - now)
            self.actions.append(SetDeadline(event.ref, event.phase, left))

    # --- the worker as a whole

    def _change(self, settings: WorkerSettings, now: float) -> None:
        before, moved = self.room, settings.batch != self.settings.batch
        self.settings = settings
        self.ceiling = max(settings.concurrency, self.busy)
        self.pace(self.mean)
        self.actions.append(SetSlots(settings.concurrency))
        if self.closed or moved:
            self._return(len(self.executions), now)
        elif self.room < before:
            unstarted = sum(len(self.phases[phase]) for phase in NOT_STARTED)
            self._return(unstarted - max(0, self.room - self.busy), now)

    def _return(self, count: int, now: float, phases: Iterable[Phase] = LEAST_LOST_FIRST) -> None:
        """Hand back what has not started: the untouched first, the youngest first."""
        for phase in phases:
            if count <= 0:
                return
            free = [e for e in self.phases[phase].values() if e.ref not in self.queue or not e.due]
            for execution in free[: -count - 1 : -1]:
                count -= 1
                self.leave(execution, now, verdicts.RETURNED)

    def _lose_queue(self, now: float) -> None:
        """Ask anew for what the keeper has forgotten."""
        lost = list(self.queue.values())
        self.queue.clear()
        for execution in lost:
            finding, execution.due = execution.due, None
            if execution.fenced:
                self.drop(execution)
            elif finding is not None:
                self.leave(execution, now, finding)

    def _hold_on(self, *, passed: bool) -> None:
        """Without a lease nothing is begun and nothing put out; with one again, it goes on."""
        self.passed = passed
        for ref in self.phases[Phase.UPLOADING]:
            self.actions.append(StopStaging(ref) if passed else StageOut(ref))

    def _stop(self, now: float) -> None:
        self.stopping = True
        self._return(len(self.executions), now)
        for execution in list(self.phases[Phase.UPLOADING].values()):
            self.leave(execution, now, verdicts.STOPPED)
        for execution in self.phases[Phase.RUNNING].values():
            execution.why = execution.why or "stopped"

    def _tire(self, now: float) -> None:
        late = [e for e in self.phases[Phase.ASSIGNED].values() if now - e.leased > WAITED_SECONDS]
        for execution in late:
            self.pace(math.inf)  # tasks are not short any more
            self.leave(execution, now, verdicts.RETURNED)

    def _fill(self, now: float) -> None:
        """Give free slots to what is ready, free room to what waits; first come, first served."""
        while self.queue and self.busy < self.settings.concurrency:
            self.promote(next(iter(self.queue.values())), now)  # as the keeper will have done
        if self.closed:
            self._return(len(self.executions), now)
            return
        if self.full:
            self._return(len(self.executions), now, (Phase.ASSIGNED,))
        ready, waiting = self.phases[Phase.READY], self.phases[Phase.ASSIGNED]
        if not self.greeted or self.passed or not (ready or waiting):
            return
        free = self.settings.concurrency - self.busy
        if ready and free > 0:
            for execution in [e for e in ready.values() if not e.paused][:free]:
                self._run(execution, now)
        room = self.room - self.busy - len(ready) - len(self.phases[Phase.DOWNLOADING])
        if waiting and room > 0:
            self._stage(room, now)
        if self.pipeline and not (ready or self.complex or self.phases[Phase.DOWNLOADING]):
            self._look_ahead()

    def _stage(self, room: int, now: float) -> None:
        waiting = self.phases[Phase.ASSIGNED]
        for execution in list(islice(waiting.values(), room)):
            if execution.staged:
                self.enter(execution, Phase.DOWNLOADING, now)
                self.actions.append(StageIn(execution.ref))
            elif self.busy < self.settings.concurrency and not execution.paused:
                self._run(execution, now)
            else:
                self.enter(execution, Phase.READY, now)

    def _look_ahead(self) -> None:
        """Queue the next at the keeper, which starts each the moment a slot is free."""
        queued = len(self.queue)  # they are the first of those that wait
        short = self.ahead - queued
        if 2 * short < self.ahead:
            return  # later, several at once
        waiting = self.phases[Phase.ASSIGNED].values()
        for execution in islice(waiting, queued, queued + short):
            if not execution.simple or execution.paused:
                return
            self.queue[execution.ref] = execution
            self.actions.append(StartStep(execution.ref, 0, ahead=True))

    def _run(self, execution: Execution, now: float) -> None:
        self.enter(execution, Phase.RUNNING, now)
        self.actions.append(StartStep(execution.ref, 0))

    # --- for tests

    def validate(self) -> None:
        """Raise AssertionError when what this machine believes cannot be."""
        held: dict[Ref, Execution] = {}
        for executions in self.phases.values():
            held |= executions
        self.ceiling = min(self.ceiling, max(self.busy, self.settings.concurrency))
        staged = len(self.phases[Phase.DOWNLOADING]) + len(self.phases[Phase.READY])
        beliefs = {
            "each in the room of its phase": all(
                execution.phase is phase
                for phase, executions in self.phases.items()
                for execution in executions.values()
            ),
            "each in one room": held == self.executions,
            "no more busy than slots": self.busy <= self.ceiling,
            "no more staged than room": not staged
            or self.busy + staged <= max(self.room, self.ceiling),
            "closed means empty hands": not self.closed
            or not any(
                execution.ref not in self.queue
                for phase in NOT_STARTED
                for execution in self.phases[phase].values()
            ),
            "a full disk takes nothing in": not self.full
            or all(ref in self.queue for ref in self.phases[Phase.ASSIGNED]),
            "what is queued comes first": list(self.queue)
            == list(islice(self.phases[Phase.ASSIGNED], len(self.queue))),
            "what runs is not simple": self.complex
            == {e.ref for e in self.executions.values() if e.phase in SLOTTED and not e.simple},
        }
        wrong = [belief for belief, holds in beliefs.items() if not holds]
        if wrong:
            raise AssertionError(wrong)
