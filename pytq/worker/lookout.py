"""Hears from the kernel what happens in rooms (inotify), so that nobody need go and look."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Final, Protocol

MODIFY, ATTRIB, MOVED_FROM, MOVED_TO = 0x2, 0x4, 0x40, 0x80
CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x100, 0x200, 0x400, 0x800
OVERFLOW, IGNORED = 0x4000, 0x8000
FOLDER: Final = (
    ATTRIB | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF
)  # whatever changes what is in it
FILE: Final = MODIFY
EVENT: Final = struct.Struct("iIII")  # watch, mask, cookie, length of the name
READ_BYTES: Final = 64 * 1024


class Watched(Protocol):
    """Somebody whose places are watched."""

    touched: bool  # something came into or left one of its folders
    written: bool  # one of its files was written to


class Lookout:
    """One inotify for all rooms. Where there is none, nothing is watched: `watch` says so.

    For several threads: what two of them hear at once is at worst noted a little late, and then
    as a change that was none.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        with contextlib.suppress(AttributeError):
            self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._owners: dict[int, Watched] = {}

    def watch(self, owner: Watched, folders: Iterable[str], files: Iterable[str]) -> bool:
        """Keep `owner` up to date from now on; False when that is not possible."""
        places = [(folder, FOLDER) for folder in folders] + [(file, FILE) for file in files]
        for place, mask in places:
            watch = self._libc.inotify_add_watch(self._fd, os.fsencode(place), mask)
            if watch < 0:
                return False
            self._owners[watch] = owner
        return True

    def listen(self) -> None:
        """Take in what has happened until now."""
        try:
            heard = os.read(self._fd, READ_BYTES)
        except OSError:  # nothing; or there is no inotify at all
            return
        while heard:
            self._note(heard)
            try:
                heard = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return

    def _note(self, heard: bytes) -> None:
        place = 0
        while place < len(heard):
            watch, mask, _, length = EVENT.unpack_from(heard, place)
            place += EVENT.size + length
            if mask & OVERFLOW:
                for owner in list(self._owners.values()):
                    owner.touched = True
            elif mask & IGNORED:
                self._owners.pop(watch, None)
            elif watch in self._owners:
                if mask & MODIFY:
                    self._owners[watch].written = True
                else:
                    self._owners[watch].touched = True

    def __del__(self) -> None:
        self.close()  # the kernel gives few of them to each user

    def close(self) -> None:
        """Watch nothing any more: nothing can be trusted from here on."""
        for owner in list(self._owners.values()):
            owner.touched = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
