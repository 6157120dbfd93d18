"""Performs what the machine decided, and turns whatever comes of it into the next event."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Outcome, Stream
from pytq.worker import moves
from pytq.worker.containers import Containers
from pytq.worker.journal import Journal
from pytq.worker.keeping import Keeping, Message
from pytq.worker.lastwords import BYTES, last_words
from pytq.worker.machine import Machine
from pytq.worker.moves import Event
from pytq.worker.options import WorkerOptions
from pytq.worker.outbox import SMALL_BYTES, Entry, Outbox
from pytq.worker.output import Tail
from pytq.worker.porter import Porter
from pytq.worker.rooms import Room, Rooms, size_of
from pytq.worker.runners import process
from pytq.worker.staging.disk import FULL, emptied, look
from pytq.worker.verdicts import EXPLAINED

log = logging.getLogger(__name__)

KILLED_BY_KERNEL = "the kernel ended it, as this machine had no more to give"


class Hands:
    """Everything a worker does to the world, one method per action."""

    def __init__(
        self,
        machine: Machine,
        journal: Journal,
        rooms: Rooms,
        options: WorkerOptions,
        host: process.Machine,
        clock: Callable[[], float],
    ) -> None:
        self.machine = machine
        self.journal = journal
        self.rooms = rooms
        self.porter = Porter(options, rooms, self._ported)
        self.host = host
        self.clock = clock
        self.outbox = Outbox()
        self.keeping: Keeping
        self.containers: Containers
        self.lived_in: dict[Ref, Room] = {}
        # Rooms of those who have ended. Until that is written down, the next agent would look for
        # their output in there, and clean up behind them: nobody else may live there yet.
        self._leaving: list[tuple[Ref, Room, Outcome]] = []
        self.tails: dict[Ref, list[Tail]] = {}
        self.said: dict[Ref, int] = {}  # bytes of stderr before a later step began
        self.deadlines: dict[Ref, list[asyncio.TimerHandle]] = {}
        self.forgettable: list[str] = []
        self._events: list[Event] = []
        self._busy = False
        self._acts: dict[type, Callable[[Any], None]] = {
            moves.StageIn: self._stage_in,
            moves.StartStep: self._start_step,
            moves.Withdraw: self._withdraw,
            moves.SetSlots: self._set_slots,
            moves.StageOut: self._stage_out,
            moves.StopStaging: self._stop_staging,
            moves.SendSignal: self._send_signal,
            moves.SetDeadline: self._set_deadline,
            moves.TellPhase: self._tell_phase,
            moves.TellEnded: self._tell_ended,
            moves.Drop: self._drop,
        }

    def take(self, *events: Event) -> None:
        """Feed events, perform what follows, until nothing follows."""
        self._events.extend(events)
        if self._busy:
            return
        self._busy = True
        try:
            while self._events:
                happened, self._events = self._events, []
                for action in self.machine.take(happened, self.clock()):
                    self._acts[type(action)](action)
        finally:
            self._busy = False
        self.keeping.flush()

    def write_down(self) -> None:
        """Make outcomes safe; then the keeper need not remember them, and their rooms are free."""
        try:
            self.journal.commit()
        except sqlite3.Error as error:  # a full disk: the keeper remembers, and we try again
            log.error("the journal cannot be written: %s", error)  # noqa: TRY400 - a full disk needs no traceback
            return
        leaving, self._leaving = self._leaving, []
        for ref, room, outcome in leaving:
            self._release(ref, room, outcome)
        if self.forgettable:
            self.keeping.send({"type": "forget", "ids": self.forgettable})
            self.containers.forget(self.forgettable)
            self.forgettable = []
            self.keeping.flush()

    def look_at_output(self, most: int) -> None:
        """See which running executions have written something."""
        for ref, tails in self.tails.items():
            for tail in tails:
                if tail.look():
                    self.outbox.grown[tail] = (ref, most)
                    tail.free_disk()

    # --- what the keeper tells

    def hear(self, messages: list[Message]) -> None:
        """Turn the keeper's lines into events."""
        events: list[Event] = []
        for message in messages:
            kind = message["type"]
            if kind in ("exited", "failed", "vanished"):
                task, attempt, step = map(int, message["id"].split("."))
                if (task, attempt) in self.machine.executions:
                    events.append(event_of((task, attempt), step, message, self.rooms.folder))
                else:
                    self.forgettable.append(message["id"])
            elif kind == "withdrawn":
                events += [moves.Withdrawn(ref_of(name)) for name in message["ids"]]
            elif kind == "guard":
                self.containers.blame(message["id"], message.get("cause", ""))
            elif kind == "started":
                events.append(moves.StepStarted(ref_of(message["id"])))
            elif kind == "bad":
                log.error("the keeper did not understand this agent: %s", message["message"])
        self.take(*events)

    # --- one method per action

    def _stage_in(self, action: moves.StageIn) -> None:
        ref, spec = action.ref, self.machine.executions[action.ref].spec
        try:
            room = self.lived_in[ref] = self.rooms.take()
        except OSError as error:
            self.take(moves.StageInFailed(ref, no_room(error, self.rooms.folder), Cause.DISK))
            return
        room.touched = True
        self.porter.bring(ref, spec, room)

    def _stage_out(self, action: moves.StageOut) -> None:
        execution = self.machine.executions[action.ref]
        whole = execution.due is None or execution.due.outcome is Outcome.SUCCEEDED
        self.porter.carry(action.ref, execution.spec, self.lived_in[action.ref], whole=whole)

    def _ported(self, event: Event) -> None:
        if isinstance(event, moves.StagedIn) and event.ref in self.lived_in:
            self.journal.stage(event.ref, self.lived_in[event.ref].path)
        self.take(event)

    def _stop_staging(self, action: moves.StopStaging) -> None:
        self.porter.stop(action.ref)

    def _start_step(self, action: moves.StartStep) -> None:
        ref = action.ref
        spec = self.machine.executions[ref].spec
        share = self.host.share(self.machine.settings.concurrency)
        try:
            room = self.lived_in.get(ref)
            if room is None:
                room = self.lived_in[ref] = self.rooms.take()
            if action.step == 0:
                self.watch(ref, room)
            else:
                self.said[ref] = size_of(room.stderr)
            if spec.steps[action.step].container is not None:
                self.containers.start(ref, action.step, spec, room, share)
                return
            if spec.uid is not None or spec.gid is not None:
                room.give_to(spec.uid, spec.gid)
            env = process.environment(room, ref, share, self.host.path, spec.uid)
            order = process.order(spec, spec.steps[action.step], room, env)
        except process.CannotRun as error:
            self.take(moves.StepFailedToStart(ref, action.step, str(error)))
            return
        except OSError as error:
            said = error.strerror or str(error)
            number, place = error.errno or 0, self.rooms.folder
            self.take(not_started(ref, action.step, number, said, error.filename, place))
            return
        order["type"], order["id"] = "start", f"{ref[0]}.{ref[1]}.{action.step}"
        if action.ahead:
            order["ahead"] = True
        self.keeping.send(order)

    def _withdraw(self, action: moves.Withdraw) -> None:
        name = f"{action.ref[0]}.{action.ref[1]}.0"
        self.keeping.send({"type": "withdraw", "ids": [name]})

    def _set_slots(self, action: moves.SetSlots) -> None:
        self.keeping.send({"type": "slots", "count": action.count})

    def watch(self, ref: Ref, room: Room) -> None:
        """Follow the output of an execution that runs."""
        self.tails[ref] = [Tail(Stream.STDOUT, room.stdout), Tail(Stream.STDERR, room.stderr)]

    def _send_signal(self, action: moves.SendSignal) -> None:
        step = self.machine.executions[action.ref].spec.steps[action.step]
        if step.container is not None:
            self.containers.signal(action.ref, action.step, action.signal, action.cause)
            return
        name = f"{action.ref[0]}.{action.ref[1]}.{action.step}"
        order = {"type": "signal", "id": name, "signal": action.signal.value}
        self.keeping.send(order | ({"cause": action.cause} if action.cause else {}))

    def _set_deadline(self, action: moves.SetDeadline) -> None:
        passed = moves.DeadlinePassed(action.ref, action.phase)
        timer = asyncio.get_running_loop().call_later(action.seconds, self.take, passed)
        self.deadlines.setdefault(action.ref, []).append(timer)

    def _tell_phase(self, action: moves.TellPhase) -> None:
        self.outbox.progress[action.ref] = action

    def _tell_ended(self, action: moves.TellEnded) -> None:
        ref, verdict = action.ref, action.verdict
        entry = Entry(ref, verdict)
        begun = 0 if action.steps == 1 else self.said.get(ref)
        room = self._close_books(ref)
        if room is not None:
            entry.sizes = room.sizes()
            tails = self.tails.pop(ref, None) or []
            if verdict.cause in EXPLAINED and tails:
                verdict.detail += _last_words(tails[1], begun, entry.sizes[1])
            entry.tails = [t for t, size in zip(tails, entry.sizes, strict=False) if t.look(size)]
            if sum(entry.sizes) > SMALL_BYTES and entry.tails:
                entry.room = room
            else:
                for tail in entry.tails:
                    tail.keep()
                self._leaving.append((ref, room, verdict.outcome))
        self.outbox.add(entry)
        self.journal.end(ref, entry.dump(), entry.room.path if entry.room else None)
        self._let_forget(ref, action.steps)

    def _drop(self, action: moves.Drop) -> None:
        ref = action.ref
        self.tails.pop(ref, None)
        room = self._close_books(ref)
        entry = self.outbox.drop(ref)
        outcome = Outcome.LOST
        if entry is not None:
            room, outcome = entry.room, entry.verdict.outcome
        else:
            self._let_forget(ref, action.steps)
        if room is not None:
            self._leaving.append((ref, room, outcome))
        self.journal.drop(ref)

    def _close_books(self, ref: Ref) -> Room | None:
        for timer in self.deadlines.pop(ref, ()):
            timer.cancel()
        self.said.pop(ref, None)
        self.porter.leave(ref)
        return self.lived_in.pop(ref, None)

    def _let_forget(self, ref: Ref, steps: int) -> None:
        self.forgettable += [f"{ref[0]}.{ref[1]}.{step}" for step in range(steps)]

    def _release(self, ref: Ref, room: Room, outcome: Outcome) -> None:
        """Make a room free for the next: at once when it is untouched, else after scrubbing."""
        if self.porter.busy(ref, lambda: self._release(ref, room, outcome)):
            return  # something of it is still going on in there
        if self.rooms.give_back(room):
            return
        loop = asyncio.get_running_loop()
        if outcome is Outcome.FAILED:
            loop.run_in_executor(None, self.rooms.keep, room, f"{ref[0]}.{ref[1]}")
        else:
            scrubbing = loop.run_in_executor(None, self.rooms.scrub, room)
            scrubbing.add_done_callback(self._scrubbed)

    def _scrubbed(self, future: asyncio.Future[Room]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self.rooms.free.append(future.result())
        else:
            log.warning("a room could not be cleaned and is left alone: %s", error)


def _last_words(stderr: Tail, begun: int | None, size: int) -> str:
    """What the step that failed said last; not what those before it did."""
    if begun is None or size <= begun:
        return ""  # nothing, or who knows since when: it was begun by the agent before
    said = last_words(stderr.last(min(BYTES, size - begun), size))
    return f": {said}" if said else ""


def ref_of(name: str) -> Ref:
    """Whose step the keeper speaks of."""
    task, attempt, _ = name.split(".")
    return int(task), int(attempt)


def event_of(ref: Ref, step: int, message: Message, place: Path) -> Event:
    """What one of the keeper's records says, of a step whose folders are at `place`."""
    if message["type"] == "failed":
        file = message.get("file")
        return not_started(ref, step, message["errno"], message["message"], file, place)
    if message["type"] == "vanished":
        return moves.StepExited(ref, step, cause="vanished")
    return moves.StepExited(
        ref,
        step,
        message["code"],
        message["signal"],
        message["cpu"],
        message["rss"],
        message["cause"],
        message["ran"],
        emptied(place) if message["code"] or message["signal"] else "",
        KILLED_BY_KERNEL if message["cause"] == "oom" else "",
    )


def not_started(
    ref: Ref, step: int, number: int, text: str, what: str | None, place: Path
) -> moves.StepFailedToStart:
    """Why a step could not be started, in a sentence; a full disk is that of `place`."""
    if number in FULL:
        return moves.StepFailedToStart(ref, step, look(what or place).full, Cause.DISK)
    return moves.StepFailedToStart(ref, step, f"{text}: {what}" if what else text)


def no_room(error: OSError, place: Path) -> str:
    """Why there is no folder for a task, in a sentence."""
    return look(place).full if error.errno in FULL else f"no folder can be made for it: {error}"
