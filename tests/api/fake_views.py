"""What the fake queue shows: one plausible thing of each kind."""

from datetime import UTC, datetime
from typing import NoReturn

from pytq import __version__
from pytq.schema.problems import (
    NotFoundError,
)
from pytq.schema.states import Outcome, Phase, WorkerStatus
from pytq.schema.views import (
    ExecutionView,
    Load,
    WorkerSettings,
    WorkerView,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def missing(what: str) -> NoReturn:
    raise NotFoundError(f"there is no {what}")


def worker_view(name: str) -> WorkerView:
    return WorkerView(
        id=1,
        name=name,
        hostname="host",
        status=WorkerStatus.ONLINE,
        settings=WorkerSettings(),
        applied=0,
        version=__version__,
        cpus=2,
        memory=2**30,
        containers=True,
        open=0,
        running=0,
        load=Load(),
        created_at=NOW,
        seen_at=None,
    )


def execution(task: int) -> ExecutionView:
    return ExecutionView(
        id=f"{task}.1",
        task=task,
        attempt=1,
        worker="anna",
        phase=Phase.ENDED,
        outcome=Outcome.LOST,
        reason=None,
        exit_code=None,
        paused=False,
        stop_wanted=None,
        assigned_at=NOW,
        downloading_at=None,
        ready_at=None,
        running_at=None,
        uploading_at=None,
        ended_at=NOW,
        cpu_seconds=None,
        memory=None,
        stdout_bytes=9,
        stderr_bytes=0,
    )
