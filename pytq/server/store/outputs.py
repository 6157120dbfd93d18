"""What executions write: chunks by offset, bounded to a head and a tail, safe to send twice."""

import base64
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from pytq.schema import limits
from pytq.schema.frames import Chunk
from pytq.schema.states import Stream
from pytq.server.store.bulk import execute_many
from pytq.server.store.tables import executions, outputs

# What is told again, by the next agent or over the next connection, may have grown meanwhile.
_KEEP: Final = sa.text(
    'INSERT INTO outputs (task, attempt, stream, "offset", size, data)'
    " VALUES (:task, :attempt, :stream, :offset, :size, :data)"
    ' ON CONFLICT (task, attempt, stream, "offset") DO UPDATE'
    " SET size = excluded.size, data = excluded.data WHERE outputs.size < excluded.size"
)
_larger: Final = {
    stream: sa.case(
        (executions.c[f"{stream}_bytes"] < sa.bindparam("upto"), sa.bindparam("upto")),
        else_=executions.c[f"{stream}_bytes"],
    )
    for stream in Stream
}
_GROWN: Final = {
    stream: sa.update(executions)
    .where(
        executions.c.task == sa.bindparam("e_task"),
        executions.c.attempt == sa.bindparam("e_attempt"),
    )
    .values({f"{stream}_bytes": _larger[stream]})
    for stream in Stream
}
_of: Final = (
    outputs.c.task == sa.bindparam("e_task"),
    outputs.c.attempt == sa.bindparam("e_attempt"),
    outputs.c.stream == sa.bindparam("e_stream"),
)
_TRIM: Final = sa.delete(outputs).where(
    *_of,
    outputs.c.offset >= limits.OUTPUT_HEAD_BYTES,
    outputs.c.offset + outputs.c.size <= sa.bindparam("tail"),
)
_READ: Final = (
    sa.select(outputs.c.offset, outputs.c.data)
    .where(*_of, outputs.c.offset + outputs.c.size > sa.bindparam("since"))
    .order_by(outputs.c.offset)
    .limit(sa.bindparam("at_most"))
)


def keep_chunks(conn: sa.Connection, chunks: Sequence[Chunk]) -> None:
    """Store chunks; beyond the head, only the tail of a long stream is kept."""
    if not chunks:
        return
    rows: list[dict[str, Any]] = []
    for chunk in chunks:
        data = _decoded(chunk.data)
        rows.append(
            {
                "task": chunk.task,
                "attempt": chunk.attempt,
                "stream": chunk.stream.value,
                "offset": chunk.offset,
                "size": len(data),
                "data": data,
            }
        )
    full = [row for row in rows if row["size"]]
    if full:
        execute_many(conn, _KEEP, full)
    for stream in Stream:
        grown = [
            {
                "e_task": row["task"],
                "e_attempt": row["attempt"],
                "upto": row["offset"] + row["size"],
            }
            for row in rows
            if row["stream"] == stream
        ]
        if grown:
            execute_many(conn, _GROWN[stream], grown)
    _trim(conn, rows)


def _trim(conn: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    ends: dict[tuple[int, int, str], int] = {}
    for row in rows:
        key = row["task"], row["attempt"], row["stream"]
        ends[key] = max(ends.get(key, 0), row["offset"] + row["size"])
    long = [
        {"e_task": t, "e_attempt": a, "e_stream": s, "tail": end - limits.OUTPUT_TAIL_BYTES}
        for (t, a, s), end in ends.items()
        if end > limits.OUTPUT_HEAD_BYTES + limits.OUTPUT_TAIL_BYTES
    ]
    if long:
        conn.execute(_TRIM, long)


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        return b""  # a broken chunk is a gap, which readers can see, and not a lost report


def read_output(
    conn: sa.Connection, task: int, attempt: int, stream: Stream, offset: int, limit: int
) -> tuple[int, bytes]:
    """The first stored stretch without a gap at or after `offset`: where it begins, its bytes."""
    found = conn.execute(
        _READ,
        {
            "e_task": task,
            "e_attempt": attempt,
            "e_stream": stream.value,
            "since": offset,
            "at_most": 200,
        },
    )
    start, data = offset, b""
    for chunk_offset, chunk in found:
        if not data and chunk_offset > offset:
            start = chunk_offset
        if chunk_offset > start + len(data):
            break  # a gap: the caller asks again from behind it
        data += chunk[start + len(data) - chunk_offset :]
        if len(data) >= limit:
            break
    return start, data[:limit]
