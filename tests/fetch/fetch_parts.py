"""What tests of transfers share."""

import asyncio
import sys
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from types import FrameType

from pytq.fetch import FetchOptions

# Gives up within seconds.
QUICK = FetchOptions(stall=1.0, connect=2.0, attempts=3, backoff=0.01, backoff_max=0.05)
# For big files on a busy machine.
CALM = replace(QUICK, stall=20.0, attempts=5)


def names(folder: Path) -> list[str]:
    """Everything in a folder, temporary files included."""
    return sorted(str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_file())


def folders(folder: Path) -> list[str]:
    """Every folder in a folder."""
    return sorted(str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_dir())


def at_work(before: set[asyncio.Task[object]]) -> list[str]:
    """Tasks that were not there before, and threads of ours that do something."""
    tasks = [repr(task) for task in asyncio.all_tasks() - before]
    threads = [
        "".join(traceback.format_stack(frame))
        for ident, frame in sys._current_frames().items()
        if ident in _ours() and _in_a_job(frame)
    ]
    return tasks + threads


def _ours() -> set[int | None]:
    return {
        thread.ident for thread in threading.enumerate() if thread.name.startswith("pytq-fetch")
    }


def _in_a_job(frame: FrameType | None) -> bool:
    """Whether a thread of a pool is in a job, rather than waiting for one."""
    calls = []
    while frame is not None:
        calls.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return "_Job.run" in calls
