"""What `pytq up` and `pytq down` have to do with the process that holds server and worker."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from pytq import credentials
from pytq.cli import holder, stack

_STOP_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.1


class Held:
    """Server and worker, held by a process of their own."""

    def __init__(self, plan: stack.Plan, process: psutil.Process) -> None:
        self.plan = plan
        self._process = process
        self._leash: subprocess.Popen[str] | None = None

    @classmethod
    async def begin(cls, plan: stack.Plan) -> "Held":
        """Start them; returns when they are ready. Raises `StackError`."""
        plan.log_dir.mkdir(parents=True, exist_ok=True)
        with (plan.log_dir / "up.log").open("wb") as log:
            leash = subprocess.Popen(  # noqa: S603, ASYNC220 - our own program; nothing else goes on yet
                [sys.executable, "-m", "pytq.cli.holder", json.dumps(holder.said_of(plan))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C reaches only us
            )
        held = cls(plan, psutil.Process(leash.pid))
        held._leash = leash
        assert leash.stdout is not None  # noqa: S101 - it is a pipe
        said = await asyncio.to_thread(leash.stdout.readline)
        if said.strip() != holder.READY:
            rest = await asyncio.to_thread(leash.stdout.read)
            await asyncio.to_thread(leash.wait)
            text = (said + rest).strip().partition(": ")[2]
            raise stack.StackError(text or f"it did not start; its log is {log.name}")
        return held

    @property
    def lives(self) -> bool:
        """Whether it still holds them."""
        if self._leash is not None and self._leash.poll() is not None:
            return False
        with suppress(psutil.NoSuchProcess):
            running = self._process.is_running()
            return bool(running and self._process.status() != psutil.STATUS_ZOMBIE)
        return False

    async def ended(self) -> None:
        """Wait until it holds nothing any more."""
        while self.lives:  # noqa: ASYNC110 - a process that may not be our child tells of no event
            await asyncio.sleep(_LOOK_SECONDS)

    def leave(self) -> None:
        """Let them go on without us."""
        if self._leash is not None and self._leash.stdin is not None:
            self._leash.stdin.write(f"{holder.LEAVE}\n")
            self._leash.stdin.close()

    def stop(self) -> bool:
        """End them; whether they have ended."""
        with suppress(psutil.NoSuchProcess):
            self._process.send_signal(signal.SIGTERM)  # psutil checks that it is the same process
        until = time.monotonic() + _STOP_SECONDS
        while self.lives and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        return not self.lives


def find(state: Path) -> Held | None:
    """What was left running, if it still runs."""
    try:
        said = json.loads(state.read_text(encoding="utf-8"))
        pid, which = said.pop("pid"), said.pop("process")
        process = psutil.Process(pid)
        same = credentials.process(pid) == which
    except (OSError, ValueError, LookupError, TypeError, psutil.Error):
        return None
    return Held(holder.plan_of(said), process) if same else None
