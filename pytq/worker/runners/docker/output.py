"""The output of a container, copied into the task's own files.

dockerd sends frames: a header of eight bytes (which stream, how long), then the bytes. Should the
live stream break, or the agent die, dockerd's log tells everything anew from the beginning: what
was copied already is skipped, so nothing is lost and nothing doubled, whoever copied it.
"""

import contextlib
import errno
import os
import struct
from collections.abc import AsyncIterable, Iterator
from typing import Final

from pytq.worker.runners.docker.dockerd import DockerdAway

HEADER: Final = struct.Struct(">BxxxL")
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
ERROR: Final = 3  # a stream by which dockerd itself speaks
ADDING: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT
UNFOOLED: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY

Sizes = tuple[int, int]


class OutputLost(Exception):  # noqa: N818 - the task's output, that is
    """The task's own files take no more; the text says which, and why."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(f"{path}: {error.strerror}")
        self.full = error.errno in FULL


class Demultiplexer:
    """Tells the two streams of a log apart, however it was cut into pieces."""

    def __init__(self) -> None:
        self._rest = b""  # of a header that is not complete
        self._stream = 0
        self._left = 0  # bytes of a frame that is not complete

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What these bytes add to stdout and to stderr."""
        parts: tuple[list[bytes], ...] = ([], [], [], [])
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end = min(self._left, len(data)), len(data)
        if at:
            parts[self._stream & 3].append(data[:at])
            self._left -= at
        while end - at >= HEADER.size:
            self._stream, length = HEADER.unpack_from(data, at)
            at += HEADER.size
            parts[self._stream & 3].append(data[at : at + length])
            at += length
        if at > end:
            self._left = at - end
        else:
            self._rest = data[at:]
        if parts[ERROR]:
            raise DockerdAway(b"".join(parts[ERROR]).decode(errors="replace"))
        return b"".join(parts[0] + parts[1]), b"".join(parts[2])


class Sink:
    """The two files that a container's output is added to."""

    def __init__(self, stdout: "Spot", stderr: "Spot") -> None:
        self.spots = (stdout, stderr)
        self.copied = [0, 0]  # of this container's
        self._fds: list[int] = []

    def open(self, before: Sizes | None = None) -> Sizes:
        """Open both; returns how large they were before this container added to them.

        Given that, what lies there beyond is this container's output, copied earlier.
        """
        self.close()
        self._fds = [spot.open() for spot in self.spots]
        found = [os.fstat(fd).st_size for fd in self._fds]
        if before is None:
            return found[0], found[1]
        self.copied = [max(0, size - base) for size, base in zip(found, before, strict=True)]
        return before

    def close(self) -> None:
        """Let go of the files."""
        while self._fds:
            os.close(self._fds.pop())

    async def copy(self, blocks: AsyncIterable[bytes], *, anew: bool) -> None:
        """Add what comes, until it ends; `anew`: from its beginning, so skip what was copied.

        Raises `OutputLost`, and `DockerdAway` when it broke off.
        """
        frames, skip = Demultiplexer(), [*self.copied] if anew else [0, 0]
        async for data in blocks:
            for number, new in enumerate(frames.feed(data)):
                known = min(skip[number], len(new))
                skip[number] -= known
                if known < len(new):
                    self._add(number, new[known:] if known else new)

    def _add(self, number: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self._fds[number], rest)
            except OSError as error:
                raise OutputLost(self.spots[number].path, error) from error
            self.copied[number] += written
            rest = rest[written:]


class Spot:
    """A file below a folder of the task's, which may have put links and pipes in its way."""

    def __init__(self, folder: str, path: str) -> None:
        self.folder = folder
        self.parts = path.strip("/").split("/")
        self.path = "/".join([folder, *self.parts])

    def open(self) -> int:
        """Open it for adding, its folders made where missing; OSError when a link is in the way."""
        with contextlib.ExitStack() as stack:
            at = self._enter(stack, self.folder, None)
            for name in self.parts[:-1]:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=at)
                at = self._enter(stack, name, at)
            return os.open(self.parts[-1], ADDING | UNFOOLED, 0o644, dir_fd=at)

    @staticmethod
    def _enter(stack: contextlib.ExitStack, name: str, at: int | None) -> int:
        fd = os.open(name, FOLDER | UNFOOLED, dir_fd=at)
        stack.callback(os.close, fd)
        return fd


@contextlib.contextmanager
def opened(sink: Sink) -> Iterator[Sink]:
    """Close a sink's files in the end."""
    try:
        yield sink
    finally:
        sink.close()
