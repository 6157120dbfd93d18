"""Secrets of the environment kept to ourselves. Standard library only.

What is secret is known by its look (our tokens, passwords in URLs, Authorization headers) and by
its name: the values of environment variables called …PASSWORD, …SECRET…, …TOKEN.
"""

import ctypes
import logging
import os
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

HIDDEN: Final = "[hidden]"
_SHORTEST: Final = 6  # shorter values would hide half of every line
_SECRET_NAMES: Final = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN$|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE
)
_IN_URL: Final = re.compile(r"(?<=://)([^\s/:@'\"]*):([^\s/@'\"]+)(?=@)")
_PR_SET_DUMPABLE: Final = 4
_LOOKS: Final = (
    (re.compile(r"pytq_[A-Za-z0-9_-]{20,}"), HIDDEN),
    (_IN_URL, rf"\1:{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"), rf"\1 {HIDDEN}"),
)


class _Redacting(logging.Formatter):
    """A formatter whose every line, tracebacks included, has its secrets hidden."""

    def __init__(self, inner: logging.Formatter, values: Iterable[str]) -> None:
        super().__init__()
        self._inner = inner
        self._values = sorted(values, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return redacted(self._inner.format(record), self._values)


def redacted(text: str, values: Iterable[str] = ()) -> str:
    """A text with its secrets hidden; `values` are some that it may hold, longest first."""
    for value in values:
        text = text.replace(value, HIDDEN)
    for look, instead in _LOOKS:
        text = look.sub(instead, text)
    return text


def secrets_of(environment: dict[str, str]) -> set[str]:
    """The values in an environment that nobody should read."""
    found = {value for name, value in environment.items() if _SECRET_NAMES.search(name)}
    for value in environment.values():
        found |= {unquote(match[2]) for match in _IN_URL.finditer(value)}
    return {value for value in found if len(value) >= _SHORTEST}


def keep_secrets() -> None:
    """Hide secrets in whatever the root logger's handlers write from now on.

    If there are any, hide this process's memory and environment too, from other processes of the
    same user: tasks may be among them. (What root runs can read everything.)
    """
    values = secrets_of(dict(os.environ))
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Redacting(handler.formatter or logging.Formatter(), values))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if values and prctl is not None:  # Linux's
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
