"""Leaving tokens where the programs of the same user, on this machine, pick them up.

`pytq.credentials` reads what is written here and says how it is found.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from pytq import credentials

log = logging.getLogger(__name__)


@contextlib.contextmanager
def left_for_pickup(
    data_dir: Path, host: str, port: int, tokens: dict[str, str]
) -> Iterator[Path | None]:
    """Leave tokens for as long as the block lasts; yields where, or None if that cannot be."""
    path = (data_dir / f"access-{port}.json").absolute()
    content = {
        "hosts": _names(host),
        "pid": os.getpid(),
        "process": credentials.process(os.getpid()),
        "tokens": tokens,
    }
    pointer = Path(credentials.pointer(port))
    try:
        _write(path, json.dumps(content))
    except OSError as error:
        log.warning("cannot leave tokens in %s: %s", path, error.strerror)
        yield None
        return
    pointed = _point(pointer, path)
    try:
        yield path
    finally:
        # A server that came after us may have written its own there.
        if pointed and _leads_to(pointer, path):
            pointer.unlink(missing_ok=True)
        if _is_ours(path, content["process"]):
            path.unlink(missing_ok=True)


def _names(host: str) -> list[str]:
    if host in ("", "0.0.0.0", "::", *credentials.LOOPBACK):  # noqa: S104 - recognised, not bound to
        return [*credentials.LOOPBACK]
    return [host]


def _write(path: Path, text: str) -> None:
    """Put a file in place whole, readable by its owner from its first moment on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _point(pointer: Path, path: Path) -> bool:
    """Point to the file from where this user's programs look; without that, they must be told."""
    draft = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(pointer.parent)
        draft.unlink(missing_ok=True)
        draft.symlink_to(path)
        draft.replace(pointer)
    except OSError as error:
        log.warning(
            "cannot write %s (%s): programs on this machine need PYTQ_TOKEN_FILE=%s",
            pointer,
            error.strerror,
            path,
        )
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove pointers of servers that were killed and whose data has been removed since."""
    for each in folder.iterdir():
        if each.is_symlink() and not each.exists():
            each.unlink(missing_ok=True)


def _leads_to(pointer: Path, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return pointer.readlink() == path
    return False


def _is_ours(path: Path, process: object) -> bool:
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return bool(json.loads(path.read_text(encoding="utf-8"))["process"] == process)
    return False
