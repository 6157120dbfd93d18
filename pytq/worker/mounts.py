"""Mounts that a task has left in its room: what lies behind them is not the room's."""

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

_TABLE: Final = Path("/proc/self/mountinfo")
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")  # blanks and their like, as the kernel writes them
_DETACH, _NOFOLLOW = 0x2, 0x8
_HELPERS: Final = ("fusermount3", "fusermount")  # what lets users unmount what they have mounted
_HELPER_SECONDS: Final = 10.0


def below(folder: str) -> list[str]:
    """Where something is mounted at or below a folder, the innermost and the newest first."""
    wanted = os.fsencode(folder)
    with contextlib.suppress(OSError):  # no such table, no such mounts
        lines = _TABLE.read_bytes().splitlines()
        points = [_ESCAPED.sub(_unescaped, line.split()[4]) for line in lines]
        found = [p for p in points if p == wanted or p.startswith(wanted + b"/")]
        return [os.fsdecode(point) for point in reversed(found)]
    return []


def detach(folder: str) -> list[str]:
    """Unmount what is mounted at or below a folder, used or not; what could not be."""
    libc = ctypes.CDLL(None)
    for point in below(folder):
        if libc.umount2(os.fsencode(point), _DETACH | _NOFOLLOW):
            _ask_helper(point)
    return below(folder)


def _ask_helper(point: str) -> None:
    for name in _HELPERS:
        helper = shutil.which(name)
        if helper is not None:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                words = [helper, "-u", "-z", "--", point]
                subprocess.run(words, check=False, capture_output=True, timeout=_HELPER_SECONDS)  # noqa: S603 - a fixed program
            return


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])
