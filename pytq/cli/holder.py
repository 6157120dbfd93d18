"""The process that holds what `pytq up` has started, so that it can go on when its cockpit is left.

`python -m pytq.cli.holder PLAN`: starts server and worker, says `ready` (or what is wrong) on
stdout, and stops them when it is told to (SIGTERM), or when its stdin ends without having said
`leave`: then whoever started it has died.
"""

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pytq import credentials
from pytq.cli import stack

READY: Final = "ready"
LEAVE: Final = "leave"
_LOOK_SECONDS: Final = 0.3


def main(words: list[str]) -> int:
    """Hold a plan until told to let go."""
    plan = plan_of(json.loads(words[0]))
    try:
        asyncio.run(_hold(plan))
    except (stack.StackError, OSError) as error:
        with suppress(BrokenPipeError, ValueError):  # nobody may be listening any more
            print(f"{type(error).__name__}: {error}", flush=True)
        return 1
    return 0


def said_of(plan: stack.Plan) -> dict[str, Any]:
    """A plan as JSON values."""
    return {
        "port": plan.port,
        "server_dir": str(plan.server_dir),
        "work_dir": str(plan.work_dir),
        "log_dir": str(plan.log_dir),
        "concurrency": plan.concurrency,
    }


def plan_of(said: dict[str, Any]) -> stack.Plan:
    """The plan that `said_of` told."""
    folders = {name: Path(value) for name, value in said.items() if name.endswith("_dir")}
    return stack.Plan(**(said | folders))


async def _hold(plan: stack.Plan) -> None:
    stop = stack.stop_event()
    async with stack.running(plan) as (children, _):
        state = plan.state
        _write(state, plan)
        try:
            print(READY, flush=True)
            leash = asyncio.create_task(_leash(stop))
            while not stop.is_set():
                children.check()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)
            leash.cancel()
        finally:
            state.unlink(missing_ok=True)


async def _leash(stop: asyncio.Event) -> None:
    """Stop when stdin ends, unless it was said that we are left alone."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.decode().strip() == LEAVE:
            # Nobody reads what we say from now on.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    stop.set()


def _write(state: Path, plan: stack.Plan) -> None:
    pid = os.getpid()
    said = said_of(plan) | {"pid": pid, "process": credentials.process(pid)}
    part = state.with_suffix(".part")
    part.write_text(json.dumps(said), encoding="utf-8")
    part.replace(state)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
