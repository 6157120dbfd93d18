"""What is to be run in a container, and the two ways in which that can come to nothing."""

from dataclasses import dataclass
from typing import Any, Final

from pytq.schema.frames import Ref
from pytq.schema.states import Cause
from pytq.worker.rooms import Room
from pytq.worker.runners.docker.output import Sink

GRACE_SECONDS: Final = 10.0  # between SIGTERM and SIGKILL, as the keeper's


class CannotStart(Exception):  # noqa: N818 - an outcome of the task, not a failure of ours
    """Why a container cannot be started; nothing of it ran."""

    def __init__(self, detail: str, cause: Cause, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.cause = cause
        self.transient = transient


class Gone(Exception):  # noqa: N818 - as above
    """There is nothing left to wait for; the cause is a word of `verdicts.ENDED_FOR`."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Order:
    """One step to be run in a container; `found`: one that was made by an agent before."""

    ref: Ref
    step: int
    name: str
    image: str
    config: dict[str, Any]
    sink: Sink
    room: Room
    platform: str | None = None
    stdin: str | None = None  # a file of this machine
    fed: str = ""  # a file that says that all of stdin has reached it
    grace: float = GRACE_SECONDS
    memory: int = 0  # its limit in bytes, for the sentence of an OOM
    found: bool = False
    given: bool = False  # the task's folders belong to whoever it runs as
