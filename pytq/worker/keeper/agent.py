"""The agent, as the keeper sees it."""

# pathlib would double what this process costs to start and to keep.
# ruff: noqa: PTH108

import contextlib
import os
import socket

LINE_BYTES = 32 * 1024 * 1024


class Agent:
    """The one connection that counts."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.coming = bytearray()
        self.going = bytearray()

    def read(self) -> list[bytes] | None:
        """Whole lines that have come; None when it has gone away."""
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return []
        except OSError:
            return None
        self.coming += data
        if not data or len(self.coming) > LINE_BYTES:
            return None
        whole, newline, rest = self.coming.rpartition(b"\n")
        if not newline:
            return []
        self.coming = rest
        return bytes(whole).split(b"\n")

    def send(self, data: bytes = b"") -> bool:
        """Send what can be sent; False when it has gone away."""
        self.going += data
        try:
            del self.going[: self.socket.send(self.going)]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


def listener() -> socket.socket:
    """The door for agents of this user."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink("keeper.sock")
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    door.bind("keeper.sock")  # relative: an absolute path may be longer than a socket's can be
    os.umask(mask)
    door.listen(8)
    return door
