"""Output streams of executions: read from their files as they grow, told in chunks.

Offsets count from the beginning of the stream, so a chunk may be told twice, and a gap shows.
"""

import base64
import ctypes
import os
from typing import Final

from pytq.schema import limits
from pytq.schema.frames import Chunk, Ref
from pytq.schema.states import Stream
from pytq.worker.rooms import size_of

RATE: Final = 1024 * 1024  # bytes a second of one stream, while it runs
PUNCH: Final = 0x03  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
PAGE: Final = 4096


class Tail:
    """One stream: what has been told, and what the server has confirmed."""

    __slots__ = ("acknowledged", "data", "path", "punched", "sent", "size", "stream")

    def __init__(self, stream: Stream, path: str) -> None:
        self.stream = stream
        self.path = path
        self.size = 0
        self.sent = 0
        self.acknowledged = 0
        self.punched = 0
        self.data: bytes | None = None  # all of it, once its file is gone

    def look(self, size: int | None = None) -> bool:
        """See how far it has grown; True when there is something new to tell."""
        self.size = size_of(self.path) if size is None else size
        return self.sent < self.size

    def take(self, ref: Ref, most: int) -> Chunk | None:
        """The next chunk; skips ahead when more has gathered than will be kept."""
        most = min(most, limits.CHUNK_BYTES)
        behind = self.size - self.sent
        if behind > limits.OUTPUT_TAIL_BYTES and self.sent >= limits.OUTPUT_HEAD_BYTES:
            self.sent = self.size - limits.OUTPUT_TAIL_BYTES
        elif behind > limits.OUTPUT_TAIL_BYTES:
            most = min(most, limits.OUTPUT_HEAD_BYTES - self.sent)
        data = self._read(self.sent, most)
        if not data:
            self.sent = self.size  # it was cut short, or its file is gone
            return None
        chunk = Chunk(
            task=ref[0],
            attempt=ref[1],
            stream=self.stream,
            offset=self.sent,
            data=base64.b64encode(data).decode(),
        )
        self.sent += len(data)
        return chunk

    def last(self, most: int, size: int) -> bytes:
        """The last bytes of a stream that has ended with `size` bytes."""
        if not size:
            return b""
        self.size = size
        return self._read(max(0, size - most), most)

    def rewind(self) -> None:
        """Tell again what was not confirmed: the connection broke."""
        self.sent = self.acknowledged

    def keep(self) -> None:
        """Read all of it into memory: its file is about to go."""
        self.data = self._read(0, self.size)

    def free_disk(self) -> None:
        """Give back the disk that the middle of a very long stream takes; best effort."""
        end = (self.acknowledged - limits.OUTPUT_TAIL_BYTES) // PAGE * PAGE
        start = max(self.punched, limits.OUTPUT_HEAD_BYTES)
        if self.size <= limits.OUTPUT_DISK_BYTES or end <= start:
            return
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        try:
            span = (ctypes.c_long(start), ctypes.c_long(end - start))
            ctypes.CDLL(None).fallocate(fd, PUNCH, *span)
            self.punched = end
        finally:
            os.close(fd)

    def _read(self, offset: int, length: int) -> bytes:
        if self.data is not None:
            return self.data[offset : offset + length]
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return b""
        try:
            return os.pread(fd, min(length, self.size - offset), offset)
        except OSError:  # the task put something else in its place
            return b""
        finally:
            os.close(fd)
