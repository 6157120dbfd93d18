"""Output streams: told in order, bounded, with the gap visible where something was left out."""

import base64
from pathlib import Path

from pytq.schema import limits
from pytq.schema.frames import Chunk
from pytq.schema.states import Stream
from pytq.worker.output import Tail


def all_of(tail: Tail, most: int = limits.CHUNK_BYTES) -> list[Chunk]:
    chunks = []
    while tail.look():
        chunk = tail.take((1, 1), most)
        if chunk:
            chunks.append(chunk)
    return chunks


def test_a_stream_is_told_from_its_beginning(tmp_path: Path) -> None:
    """Offsets say where each chunk belongs; growth is told later."""
    path = tmp_path / "out"
    path.write_bytes(b"hello ")
    tail = Tail(Stream.STDOUT, str(path))
    first = all_of(tail)
    with path.open("ab") as file:
        file.write(b"world")

    assert [(c.offset, base64.b64decode(c.data)) for c in first] == [(0, b"hello ")]
    assert [(c.offset, base64.b64decode(c.data)) for c in all_of(tail)] == [(6, b"world")]
    assert not tail.look()


def test_a_flood_is_cut_to_head_and_tail(tmp_path: Path) -> None:
    """Of a very long stream the head and the last mebibyte are told, in bounded chunks."""
    path = tmp_path / "out"
    size = 10 * limits.OUTPUT_TAIL_BYTES
    path.write_bytes(bytes(size))
    chunks = all_of(Tail(Stream.STDERR, str(path)))
    told = [(c.offset, len(base64.b64decode(c.data))) for c in chunks]

    assert told[0] == (0, limits.OUTPUT_HEAD_BYTES)
    assert told[1][0] == size - limits.OUTPUT_TAIL_BYTES
    assert sum(told[-1]) == size
    assert max(length for _, length in told) <= limits.CHUNK_BYTES


def test_what_was_not_confirmed_is_told_again(tmp_path: Path) -> None:
    """After a broken connection the stream goes on from what the server confirmed."""
    path = tmp_path / "out"
    path.write_bytes(b"abcdef")
    tail = Tail(Stream.STDOUT, str(path))
    all_of(tail)
    tail.acknowledged = 2
    tail.rewind()

    assert [chunk.offset for chunk in all_of(tail)] == [2]


def test_the_middle_of_a_flood_gives_its_disk_back(tmp_path: Path) -> None:
    """A stream larger than its share of the disk becomes a hole, except for head and tail."""
    path = tmp_path / "out"
    path.write_bytes(b"x" * (limits.OUTPUT_DISK_BYTES + 2**20))
    tail = Tail(Stream.STDOUT, str(path))
    all_of(tail)
    tail.acknowledged = tail.sent
    before = path.stat().st_blocks
    tail.free_disk()

    assert path.stat().st_blocks < before / 4
    assert path.stat().st_size == limits.OUTPUT_DISK_BYTES + 2**20
    content = path.read_bytes()
    assert content[: limits.OUTPUT_HEAD_BYTES] == b"x" * limits.OUTPUT_HEAD_BYTES
    assert content[-limits.OUTPUT_TAIL_BYTES :] == b"x" * limits.OUTPUT_TAIL_BYTES


def test_a_stream_that_became_something_else_is_left_alone(tmp_path: Path) -> None:
    """A task that replaces its output file by a link or a folder gets no foreign file told."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = tmp_path / "out"
    path.symlink_to(secret)
    tail = Tail(Stream.STDOUT, str(path))

    assert all_of(tail) == []
