"""The C library's posix_spawn, called so that other threads go on meanwhile.

It suspends its caller until the child runs its program; Python's own holds the interpreter's lock
all that time. This one changes the folder in the child, so that threads do not fight over it.
"""

import ctypes
import os
import signal
import sys

from pytq.worker.keeper.tasks import Message

SETSIGDEF, SETSIGMASK, SETSID = 0x04, 0x08, 0x80  # the same in glibc and musl
OPAQUE_BYTES = 1024  # of attributes and of file actions: more than any C library needs
CODEC = sys.getfilesystemencoding(), "surrogateescape"  # what os.fsencode does, but quicker
RECIPES = 64  # remembered file actions: rooms are used again and again
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NOCTTY

Place = tuple[str, str, str, str]  # folder, stdin, stdout, stderr


class Recipe:
    """File actions of the C library; freed with the last who uses them."""

    def __init__(self, libc: ctypes.CDLL, place: Place) -> None:
        self.libc = libc
        self.actions = ctypes.create_string_buffer(OPAQUE_BYTES)
        libc.posix_spawn_file_actions_init(self.actions)
        folder, stdin, stdout, stderr = map(os.fsencode, place)
        libc.posix_spawn_file_actions_addchdir_np(self.actions, folder)
        for fd, path, flags in ((0, stdin, os.O_RDONLY), (1, stdout, APPEND), (2, stderr, APPEND)):
            mode = ctypes.c_uint(0o644)
            libc.posix_spawn_file_actions_addopen(self.actions, fd, path, flags, mode)

    def __del__(self) -> None:
        self.libc.posix_spawn_file_actions_destroy(self.actions)


class Native:
    """posix_spawn with everything but program, words, environment and place settled."""

    def __init__(self, reset: list[int]) -> None:
        self.libc = libc = ctypes.CDLL(None)
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        self.spawn = libc.posix_spawn
        self.spawn.argtypes = [pointer, text, pointer, pointer, pointer, pointer]
        libc.posix_spawn_file_actions_addchdir_np  # noqa: B018 - AttributeError where it is too old
        self.attributes = self._attributes(reset)
        self.recipes: dict[Place, Recipe] = {}

    def _attributes(self, reset: list[int]) -> "ctypes.Array[ctypes.c_char]":
        libc = self.libc
        attributes = ctypes.create_string_buffer(OPAQUE_BYTES)
        signals = ctypes.create_string_buffer(OPAQUE_BYTES)
        libc.posix_spawnattr_init(attributes)
        libc.posix_spawnattr_setflags(attributes, ctypes.c_short(SETSID | SETSIGMASK | SETSIGDEF))
        libc.sigemptyset(signals)
        libc.posix_spawnattr_setsigmask(attributes, signals)
        for number in reset:
            libc.sigaddset(signals, number)
        libc.posix_spawnattr_setsigdefault(attributes, signals)
        return attributes

    def start(self, program: str, argv: list[str], order: Message) -> int:
        """Start a process in a session of its own; returns its pid."""
        place = order["cwd"], order.get("stdin") or os.devnull, order["stdout"], order["stderr"]
        words = [word.encode(*CODEC) for word in argv]
        pairs = [f"{name}={value}".encode(*CODEC) for name, value in order["env"].items()]
        if b"\0" in b"".join((*words, *pairs)):
            raise ValueError("a word or a variable has a NUL in it")
        recipe, pid = self._recipe(place), ctypes.c_int()
        error = self.spawn(
            ctypes.byref(pid),
            program.encode(*CODEC),
            recipe.actions,
            self.attributes,
            (ctypes.c_char_p * (len(words) + 1))(*words),
            (ctypes.c_char_p * (len(pairs) + 1))(*pairs),
        )
        if error:
            raise OSError(error, os.strerror(error), program)
        return pid.value

    def _recipe(self, place: Place) -> Recipe:
        recipe = self.recipes.get(place)
        if recipe is None:
            if len(self.recipes) >= RECIPES:
                self.recipes.clear()
            recipe = self.recipes[place] = Recipe(self.libc, place)
        return recipe


def ignored() -> list[int]:
    """The signals that this process ignores, and its children should not."""
    return [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
