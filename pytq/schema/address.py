"""Where a server is: a host, host:port or URL, as people write it. Standard library only.

`pytq launch` reads this file at every start, so it imports next to nothing.
"""

import re
from urllib.parse import urlsplit

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 5000
DEFAULT_SERVER = f"{DEFAULT_HOST}:{DEFAULT_PORT}"

_HOST = re.compile(r"[A-Za-z0-9_.-]+")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?")
_PREFIX = re.compile(r"[A-Za-z0-9_./~-]*")
_LARGEST_PORT = 65535


class AddressError(ValueError):
    """Something that is no server address; the text says what to write instead."""


class Address:
    """A server's address. `path` is a prefix without a slash at its end, usually empty."""

    __slots__ = ("host", "path", "port", "secure")

    def __init__(
        self, host: str, port: int = DEFAULT_PORT, *, secure: bool = False, path: str = ""
    ) -> None:
        self.host = host
        self.port = port
        self.secure = secure
        self.path = path

    @property
    def netloc(self) -> str:
        """Host and port, as in `example.org:5000` and `[::1]:5000`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The server's URL, without a slash at its end."""
        return f"{'https' if self.secure else 'http'}://{self.netloc}{self.path}"

    def __str__(self) -> str:
        return self.url if self.secure or self.path else self.netloc


def parse(text: str) -> Address:
    """Read `host`, `host:port`, `http://host[:port][/prefix]` or `https://…`.

    Without a port, a URL means the port of its scheme and anything else means 5000.
    """
    text = text.strip()
    if "://" in text:
        return _from_url(text)
    if text.count(":") > 1 and not text.startswith("["):  # a bare IPv6 address
        return Address(_host(text, text))
    host, port = _split(text, text)
    return Address(host, DEFAULT_PORT if port is None else port)


def _from_url(text: str) -> Address:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise _refusal(text) from error
    if parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise _refusal(text)
    if "@" in parts.netloc:
        raise AddressError(
            "a server address holds no user or password; put the token into PYTQ_TOKEN"
        )
    if not _PREFIX.fullmatch(parts.path):
        raise _refusal(text)
    host, port = _split(parts.netloc, text)
    secure = parts.scheme == "https"
    if port is None:
        port = 443 if secure else 80
    return Address(host, port, secure=secure, path=parts.path.rstrip("/"))


def _split(netloc: str, text: str) -> tuple[str, int | None]:
    host, colon, port = netloc.rpartition(":")
    if not colon or netloc.endswith("]"):
        return _host(netloc, text), None
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= _LARGEST_PORT):
        raise AddressError(f"{text!r}: a port is a number from 1 to {_LARGEST_PORT}")
    return _host(host, text), int(port)


def _host(host: str, text: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    shape = _IPV6 if ":" in host else _HOST
    if not shape.fullmatch(host):
        raise _refusal(text)
    return host


def _refusal(text: str) -> AddressError:
    return AddressError(
        f"{text!r} is no server address; write a host, host:port or URL, as in {DEFAULT_SERVER}"
    )
