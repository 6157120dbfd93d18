"""An anonymous FTP server of a folder, which can break off, and can lack the newer commands."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports asyncore
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import DTPHandler, FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

MODERN = ("MLSD", "MLST", "EPSV")


@dataclass
class FtpServer:
    """A running server."""

    root: Path
    port: int = 0
    cuts: list[int] = field(default_factory=list)  # each download ends after so many bytes
    commands: list[str] = field(default_factory=list)  # that came

    @property
    def url(self) -> str:
        return f"ftp://127.0.0.1:{self.port}"


@contextmanager
def ftp_server(
    root: Path, *, modern: bool = True, users: dict[str, str] | None = None
) -> Iterator[FtpServer]:
    """Serve a folder, for reading and writing, on a free port of loopback."""
    served = FtpServer(root)
    authorizer = _Quiet()
    if users is None:
        authorizer.add_anonymous(str(root), perm="elradfmwMT")
    for name, password in (users or {}).items():
        authorizer.add_user(name, password, str(root), perm="elradfmwMT")
    handler = _handler(served, authorizer, modern=modern)
    server = ThreadedFTPServer(("127.0.0.1", 0), handler)
    served.port = server.socket.getsockname()[1]
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"handle_exit": False}, daemon=True
    )
    thread.start()
    try:
        yield served
    finally:
        server.close_all()
        thread.join(10)


class _Quiet(DummyAuthorizer):  # type: ignore[misc]
    def _check_permissions(self, username: str, perm: str) -> None:
        """Anonymous may write here; the library would warn of it."""


def _handler(served: FtpServer, authorizer: Any, *, modern: bool) -> type[FTPHandler]:
    class Cutting(DTPHandler):  # type: ignore[misc]
        cut: int | None = None

        def send(self, data: bytes) -> int:
            if self.receive or self.cmd != "RETR":
                return int(super().send(data))
            if self.cut is None:
                self.cut = served.cuts.pop(0) if served.cuts else -1
            if self.cut < 0:
                return int(super().send(data))
            data = data[: self.cut]
            sent = int(super().send(data)) if data else 0
            self.cut -= sent
            if self.cut == 0:
                self.cmd_channel.close()
                self.close()
            return sent

    class Handler(FTPHandler):  # type: ignore[misc]
        def pre_process_command(self, line: str, cmd: str, arg: str) -> Any:
            served.commands.append(line)
            return super().pre_process_command(line, cmd, arg)

        def log(self, *_: Any, **__: Any) -> None:
            """Stay quiet."""

        logline = logerror = log_cmd = log_transfer = log

    Handler.authorizer = authorizer
    Handler.dtp_handler = Cutting
    Handler.use_sendfile = False
    Handler.auth_failed_timeout = 0
    if not modern:
        Handler.proto_cmds = {
            name: facts for name, facts in FTPHandler.proto_cmds.items() if name not in MODERN
        }
    return Handler
