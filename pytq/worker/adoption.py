"""Takes over what the agent before this one held: the journal's books against the keeper's."""

import logging
from collections import defaultdict

from pytq.schema.frames import Lease, Ref
from pytq.schema.states import Phase
from pytq.worker import moves
from pytq.worker.hands import Hands, event_of
from pytq.worker.journal import Entry as Line
from pytq.worker.keeping import Message
from pytq.worker.outbox import Entry
from pytq.worker.rooms import Room

log = logging.getLogger(__name__)

Records = dict[Ref, dict[int, Message]]


def records_of(held: list[Message]) -> Records:
    """The keeper's list by execution and step."""
    records: Records = defaultdict(dict)
    for message in held:
        task, attempt, step = map(int, message["id"].split("."))
        records[task, attempt][step] = message
    return records


def rooms_of(lines: list[Line], held: list[Message]) -> set[str]:
    """Every room that somebody may still live in."""
    return {line.room for line in lines if line.room} | {
        message.get("note", "") for message in held
    }


def adopt(hands: Hands, lines: list[Line], held: list[Message], *, same_boot: bool) -> None:
    """Go on with everything in the journal; end what only the keeper knows."""
    records = records_of(held)
    for line in lines:
        steps = records.pop(line.ref, {})
        try:
            _adopt(hands, line, steps, same_boot=same_boot)
        except (ValueError, KeyError, TypeError) as error:
            # Scribbled over, or another version's. The server hears that it is not held: lost.
            name = f"{line.ref[0]}.{line.ref[1]}"
            log.warning("%s is given up: its line in the journal cannot be read: %s", name, error)
            hands.lived_in.pop(line.ref, None)
            hands.journal.drop(line.ref)
            _end_unknown(hands, steps)
    for steps in records.values():
        _end_unknown(hands, steps)


def _adopt(hands: Hands, line: Line, steps: dict[int, Message], *, same_boot: bool) -> None:
    if line.outcome is not None:
        _take_outcome(hands, line, line.outcome)
        _let_forget(hands, steps)
    elif not same_boot:
        _take_started(hands, line, 0, 0.0, {})
        hands.take(moves.StepExited(line.ref, 0, cause="rebooted"))
    elif steps:
        _go_on(hands, line, steps)
    else:
        _take_waiting(hands, line)


def reconcile(hands: Hands, held: list[Message]) -> None:
    """The connection to the keeper broke: see what is left of what ran."""
    records, unsent = records_of(held), hands.keeping.unsent
    hands.containers.guard_again()
    for ref, execution in list(hands.machine.phases[Phase.RUNNING].items()):
        if (ref, execution.step) in hands.containers.runs:
            continue
        name = f"{ref[0]}.{ref[1]}.{execution.step}"
        message = records.get(ref, {}).get(execution.step)
        if message is None and name not in unsent:
            hands.take(moves.StepExited(ref, execution.step, cause="vanished"))
        elif message is not None and message["type"] != "started":
            hands.hear([message])
    for ref in set(hands.machine.queue) & records.keys():
        hands.hear(list(records[ref].values()))
    hands.keeping.send({"type": "slots", "count": hands.machine.settings.concurrency})
    hands.take(moves.QueueLost())
    for ref, steps in records.items():
        if ref not in hands.machine.executions:
            _end_unknown(hands, steps)


def _take_outcome(hands: Hands, line: Line, outcome: str) -> None:
    lease = Lease.model_validate_json(line.lease)
    entry = Entry.load(line.ref, outcome, Room(line.room) if line.room else None)
    hands.take(moves.Restored(line.ref, lease.spec, Phase.ENDED))
    hands.outbox.add(entry)


def _take_waiting(hands: Hands, line: Line) -> None:
    lease = Lease.model_validate_json(line.lease)
    if line.room:
        hands.lived_in[line.ref] = Room(line.room)
        hands.porter.adopt(line.ref, lease.spec)
    phase = Phase.READY if line.room else Phase.ASSIGNED
    hands.take(moves.Restored(line.ref, lease.spec, phase))


def _take_started(
    hands: Hands, line: Line, step: int, since: float, before: dict[int, Message]
) -> None:
    lease = Lease.model_validate_json(line.lease)
    ended = [message for message in before.values() if message["type"] == "exited"]
    hands.porter.adopt(line.ref, lease.spec)
    cpu = sum(message["cpu"] for message in ended)
    memory = max((message["rss"] for message in ended), default=0)
    hands.take(moves.Restored(line.ref, lease.spec, Phase.RUNNING, step, since, cpu, memory))


def _go_on(hands: Hands, line: Line, steps: dict[int, Message]) -> None:
    last = max(steps)
    ago = max(message.get("ago", 0.0) + message.get("ran", 0.0) for message in steps.values())
    room = hands.lived_in[line.ref] = Room(steps[last]["note"])
    before = {step: message for step, message in steps.items() if step != last}
    _take_started(hands, line, last, hands.clock() - ago, before)
    hands.watch(line.ref, room)
    if steps[last]["type"] == "guard":
        spec = hands.machine.executions[line.ref].spec
        hands.containers.adopt(line.ref, last, spec, room, steps[last])
    elif steps[last]["type"] != "started":
        hands.take(event_of(line.ref, last, steps[last], hands.rooms.folder))


def _end_unknown(hands: Hands, steps: dict[int, Message]) -> None:
    for message in steps.values():
        if message["type"] == "started":
            order = {"type": "signal", "id": message["id"], "signal": "kill", "cause": "fenced"}
            hands.keeping.send(order)
        else:
            _let_forget(hands, {0: message})


def _let_forget(hands: Hands, steps: dict[int, Message]) -> None:
    for message in steps.values():
        hands.forgettable.append(message["id"])
        if message["type"] == "guard":
            hands.containers.know(message["id"])
