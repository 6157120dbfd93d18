"""What the server has yet to hear: phases, output, outcomes; and what it has not confirmed."""

import base64
import json
from dataclasses import dataclass, field
from typing import Final

from pytq.schema import limits
from pytq.schema.frames import Chunk, Ended, Progress, Ref, Report, Staged
from pytq.schema.states import Cause, Outcome, Phase, Stream
from pytq.schema.views import Load, ResourceView
from pytq.worker.moves import TellPhase, Verdict
from pytq.worker.output import Tail
from pytq.worker.rooms import Room

SMALL_BYTES: Final = 8 * 1024  # so much output is kept in memory and journal, not in its room
REPORT_BYTES: Final = 4 * 1024 * 1024  # of output in one report
UNANSWERED: Final = 16  # reports; then wait for the server
REPEAT_SECONDS: Final = 10.0


@dataclass(slots=True, eq=False)
class Entry:
    """An outcome that is not settled, with the output that goes before it."""

    ref: Ref
    verdict: Verdict
    sizes: tuple[int, int] = (0, 0)
    tails: list[Tail] = field(default_factory=list)
    room: Room | None = None  # where more output lies than fits in here
    told: float = 0.0

    def dump(self) -> str:
        """For the journal."""
        verdict = self.verdict
        known = {
            "outcome": verdict.outcome,
            "ended": verdict.ended,
            "cause": verdict.cause,
            "detail": verdict.detail,
            "exit_code": verdict.exit_code,
            "entered": verdict.entered,
            "cpu": verdict.cpu,
            "memory": verdict.memory,
        }
        data = {t.stream: base64.b64encode(t.data).decode() for t in self.tails if t.data}
        return json.dumps({"verdict": known, "sizes": self.sizes, "data": data})

    @classmethod
    def load(cls, ref: Ref, text: str, room: Room | None) -> "Entry":
        """From the journal."""
        known = json.loads(text)
        verdict = known["verdict"]
        verdict["outcome"] = Outcome(verdict["outcome"])
        verdict["cause"] = verdict["cause"] and Cause(verdict["cause"])
        verdict["entered"] = {Phase(name): at for name, at in verdict["entered"].items()}
        entry = cls(ref, Verdict(**verdict), tuple(known["sizes"]), room=room)
        paths = (room.stdout, room.stderr) if room else ("", "")
        for stream, path, size in zip(Stream, paths, entry.sizes, strict=True):
            tail = Tail(stream, path)
            if room is None:
                tail.data = base64.b64decode(known["data"].get(stream, ""))
            if tail.look(size):
                entry.tails.append(tail)
        return entry

    def ended(self, now: float) -> Ended:
        """For the server: times become durations."""
        verdict = self.verdict
        ago = {phase.value: max(0.0, now - at) for phase, at in verdict.entered.items()}
        return Ended(
            task=self.ref[0],
            attempt=self.ref[1],
            outcome=verdict.outcome,
            cause=verdict.cause,
            detail=verdict.detail[: limits.TEXT_CHARS],
            exit_code=verdict.exit_code,
            ended=max(0.0, now - verdict.ended),
            cpu_seconds=verdict.cpu,
            memory=verdict.memory,
            stdout_bytes=self.sizes[0],
            stderr_bytes=self.sizes[1],
            downloading=ago.get("downloading"),
            ready=ago.get("ready"),
            running=ago.get("running"),
            uploading=ago.get("uploading"),
        )


class Outbox:
    """Gathers, until a report is sent; remembers, until it is answered."""

    def __init__(self) -> None:
        self.entries: dict[Ref, Entry] = {}  # not settled
        self.fresh: dict[Ref, Entry] = {}  # of these, not told on this connection
        self.progress: dict[Ref, TellPhase] = {}
        self.grown: dict[Tail, tuple[Ref, int]] = {}  # running ones with news; bytes allowed
        self.staging: list[Staged] | None = None  # news of what is on its way
        self.kept: list[ResourceView] | None = None  # and of what this worker keeps
        self.seq = 0
        self.sent: dict[int, tuple[float, list[tuple[Tail, int]]]] = {}  # by report

    @property
    def news(self) -> bool:
        """Whether there is anything to tell."""
        more = self.staging is not None or self.kept is not None
        return bool(self.fresh or self.progress or self.grown or more)

    @property
    def full(self) -> bool:
        """Whether the server should answer first."""
        return len(self.sent) >= UNANSWERED

    def add(self, entry: Entry) -> None:
        """An execution ended."""
        self.entries[entry.ref] = self.fresh[entry.ref] = entry
        self.progress.pop(entry.ref, None)  # the outcome carries all times

    def drop(self, ref: Ref) -> Entry | None:
        """An execution is settled, or not ours."""
        self.progress.pop(ref, None)
        self.fresh.pop(ref, None)
        return self.entries.pop(ref, None)

    def begin_anew(self, running: list[Tail]) -> None:
        """A new connection: what was not answered is told again."""
        self.sent.clear()
        for tail in running:
            tail.rewind()
        for entry in self.entries.values():
            for tail in entry.tails:
                tail.rewind()
        self.fresh = dict(self.entries)

    def answered(self, seq: int) -> float | None:
        """The server took in all reports up to this one; returns when it was sent."""
        when = None
        for number in [number for number in self.sent if number <= seq]:
            when, ends = self.sent.pop(number)
            for tail, end in ends:
                tail.acknowledged = max(tail.acknowledged, end)
        return when

    def repeat(self, now: float) -> None:
        """Tell outcomes again that were not settled for long."""
        for ref, entry in self.entries.items():
            if now - entry.told > REPEAT_SECONDS:
                self.fresh.setdefault(ref, entry)

    def report(self, now: float, capacity: int, applied: int, load: Load | None) -> Report:
        """Everything new, as one report."""
        self.seq += 1
        chunks: list[Chunk] = []
        ends: list[tuple[Tail, int]] = []
        left = REPORT_BYTES
        for tail, (ref, most) in self.grown.items():
            left -= self._take(tail, ref, min(most, left), chunks, ends)
        self.grown.clear()
        ended, rest = [], {}
        for ref, entry in self.fresh.items():
            for tail in entry.tails:
                while tail.look(tail.size) and left > 0:
                    left -= self._take(tail, ref, left, chunks, ends)
            if any(tail.look(tail.size) for tail in entry.tails):
                rest[ref] = entry  # the outcome comes after all of its output
            else:
                entry.told = now
                ended.append(entry.ended(now))
        self.fresh = rest
        progress = [
            Progress(
                task=ref[0],
                attempt=ref[1],
                phase=told.phase,
                ago=max(0.0, now - told.at),
                paused=told.paused,
            )
            for ref, told in self.progress.items()
        ]
        self.progress.clear()
        self.sent[self.seq] = (now, ends)
        staging, self.staging = self.staging, None
        kept, self.kept = self.kept, None
        return Report(
            seq=self.seq,
            capacity=capacity,
            applied=applied,
            progress=progress,
            chunks=chunks,
            ended=ended,
            load=load,
            staging=staging,
            resources=kept,
        )

    @staticmethod
    def _take(
        tail: Tail, ref: Ref, most: int, chunks: list[Chunk], ends: list[tuple[Tail, int]]
    ) -> int:
        chunk = tail.take(ref, most) if most > 0 else None
        if chunk is None:
            return 0
        chunks.append(chunk)
        ends.append((tail, tail.sent))
        return len(chunk.data) * 3 // 4
