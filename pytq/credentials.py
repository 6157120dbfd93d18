"""The token for a server, found where people leave it. Standard library only.

Looked for in this order:

1. `$PYTQ_TOKEN`, or the file that `$PYTQ_TOKEN_FILE` (or `--token-file`) names;
2. for a server on this machine, what it has left for the user who runs it: on loopback nobody ever
   has to handle a token by hand.

The second works so: a running server writes tokens that live as long as its process into
`access-PORT.json` in its data directory, readable by its user alone, and points to that file from
`~/.local/share/pytq/access/HOST-PORT.json`. We believe the file only while that very process
lives: then the port is its own, and no other program listens there to collect tokens.

`pytq launch` reads this file at every start, so it imports next to nothing.
"""

# ruff: noqa: PTH100, PTH110, PTH111, PTH118, PTH123 - pathlib takes as long as all of this

import json
import os
import sys
from typing import TYPE_CHECKING

from pytq.schema.address import Address

if TYPE_CHECKING:
    import ssl

ADMIN = "admin"
WORKER = "worker"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BOOT = "/proc/sys/kernel/random/boot_id"
_OTHERS = 0o077


class CredentialsError(Exception):
    """What was given as a token or certificate cannot be used; the text says what to do."""


def use(token_file: str | None = None, ca: str | None = None) -> None:
    """Let this process, and those it starts, use what the command line named."""
    if token_file is not None:
        os.environ["PYTQ_TOKEN_FILE"] = os.path.abspath(token_file)
        os.environ.pop("PYTQ_TOKEN", None)
    if ca is not None:
        os.environ["PYTQ_CA"] = os.path.abspath(ca)


def token_for(address: Address, role: str = ADMIN) -> str:
    """The token to show to a server; empty if there is none. Raises `CredentialsError`."""
    given = os.environ.get("PYTQ_TOKEN", "").strip()
    if given:
        return checked(given, "PYTQ_TOKEN")
    named = os.environ.get("PYTQ_TOKEN_FILE", "").strip()
    return _from_file(named, role) if named else _left_here(address, role)


def checked(token: str, where: str) -> str:
    """The token, if it can stand in a header at all."""
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise CredentialsError(f"{where} holds characters that no token has; set it anew")
    return token


def _from_file(path: str, role: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise CredentialsError(f"the token file {path} cannot be read: {why}") from error
    if text.startswith("{"):  # what a server has left
        text = _tokens(text).get(role, "")
    if not text:
        raise CredentialsError(f"the token file {path} holds no token")
    return checked(text, f"the token file {path}")


def _left_here(address: Address, role: str) -> str:
    try:
        descriptor = os.open(pointer(address.port), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(descriptor, encoding="utf-8") as file:
        about = os.fstat(descriptor)
        if about.st_uid != os.geteuid() or about.st_mode & _OTHERS:
            return ""
        try:
            left = json.loads(file.read())
            ours = address.host in left["hosts"] and left["process"] == process(left["pid"])
            return str(left["tokens"][role]) if ours else ""
        except (ValueError, LookupError, TypeError):
            return ""


def _tokens(text: str) -> dict[str, str]:
    try:
        return dict(json.loads(text)["tokens"])
    except (ValueError, LookupError, TypeError):
        return {}


def pointer(port: int) -> str:
    """Where a server of this user, on this machine, is found by its port."""
    return os.path.join(pointers(), f"{os.uname().nodename}-{port}.json")


def pointers() -> str:
    """The folder of those files. Home folders may be shared by machines, hence their names."""
    if sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME", "").strip() or os.path.expanduser("~/.local/share")
    return os.path.join(base, "pytq", "access")


def process(pid: int) -> str:
    """What tells a living process from every other there ever was; empty if it is gone."""
    try:
        with open(_BOOT, encoding="ascii") as boot, open(f"/proc/{int(pid)}/stat", "rb") as stat:
            started = stat.read().rpartition(b")")[2].split()[19]
            return f"{boot.read().strip()} {int(pid)} {int(started)}"
    except FileNotFoundError:
        return "" if os.path.exists("/proc/self/stat") else _without_proc(pid)


def _without_proc(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return str(pid)


def tls() -> "ssl.SSLContext":
    """How to check the server's certificate: against `$PYTQ_CA`, or what this machine trusts."""
    import ssl

    named = os.environ.get("PYTQ_CA", "").strip() or None
    try:
        return ssl.create_default_context(cafile=named)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or "there is no certificate in it"
        raise CredentialsError(f"the CA file {named} cannot be used: {why}") from error


def tls_trouble(error: BaseException | None, address: Address) -> str | None:
    """What to do about an error of TLS, or of TLS where there is none; None for other errors."""
    while error is not None:
        text = _trouble(error, address)
        if text is not None:
            return text
        error = error.__cause__ or error.__context__
    return None


def _trouble(error: BaseException, address: Address) -> str | None:
    kind = type(error).__name__
    if kind == "SSLCertVerificationError":
        why = str(getattr(error, "verify_message", "") or error)
        if "mismatch" in why or "not valid for" in why:
            return f"its certificate is for another name; connect by a name it has ({why})"
        if "expired" in why:
            return "its certificate has expired; the server needs a new one"
        return f"its certificate is not trusted here ({why}); name its CA with --ca or PYTQ_CA"
    if kind in ("SSLError", "SSLZeroReturnError", "SSLEOFError") and address.secure:
        return f"it does not speak TLS there; try http://{address.netloc}{address.path}"
    return None
