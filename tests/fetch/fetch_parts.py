"""What tests of transfers share."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

from pytq.fetch import FetchOptions

# Gives up within seconds.
QUICK = FetchOptions(stall=1.0, connect=2.0, attempts=3, backoff=0.01, backoff_max=0.05)
# For big files on a busy machine.
CALM = replace(QUICK, stall=20.0, attempts=5)


def names(folder: Path) -> list[str]:
    """Everything in a folder, temporary files included."""
    return sorted(str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_file())


def nothing_left(before: set[asyncio.Task[object]]) -> bool:
    """Whether no task of ours is left, and no thread of ours is at work."""
    return asyncio.all_tasks() <= before and not any(
        thread.name.startswith("pytq-fetch") and _busy(thread) for thread in threading.enumerate()
    )


def _busy(thread: threading.Thread) -> bool:
    import sys

    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_name != "_worker":
        if frame.f_code.co_name == "run" and "thread.py" in frame.f_code.co_filename:
            return True  # inside a work item of the pool
        frame = frame.f_back
    return False
