"""What a viewer and the server say to each other: one snapshot, then what has changed.

`GET /api/v1/stream` is a WebSocket. The server speaks first, with a `Snapshot`; then it sends
`Changes`, at most one each `limits.STREAM_SECONDS`, and one each `HEARTBEAT_SECONDS` when nothing
changes. Changes that come faster are coalesced: a viewer sees where things stand, not each step.
The viewer may say at any time, with `Watch`, which tasks it looks at: those it then hears of one
by one. Lists of tasks are paged over REST; the counts tell when a page may have changed.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from pytq.schema import limits
from pytq.schema.recruit import JobView
from pytq.schema.text import Count, Model, Name, TaskId
from pytq.schema.views import BatchView, EventView, ExecutionView, ServerInfo, TaskView, WorkerView

STREAM_PATH: Final = "/stream"  # below the endpoints' prefix


class Point(Model):
    """What happened in `limits.HISTORY_STEP` seconds."""

    at: Count  # when they began: seconds since 1970
    submitted: Count = 0
    started: Count = 0
    succeeded: Count = 0
    failed: Count = 0
    lost: Count = 0  # executions that ended through no fault of their task


class Watch(Model):
    """The tasks a viewer looks at now, instead of those before."""

    type: Literal["watch"] = "watch"
    tasks: Annotated[list[TaskId], Field(max_length=limits.WATCHED)] = Field(default_factory=list)


class Snapshot(Model):
    """Everything, for who comes new."""

    type: Literal["snapshot"] = "snapshot"
    server: ServerInfo
    batches: list[BatchView]
    workers: list[WorkerView]
    jobs: list[JobView]
    events: list[EventView]  # the latest, oldest first
    history: list[Point]  # oldest first; the last one is not over yet


class Watched(Model):
    """A watched task that changed, with its latest execution; None: it is gone.

    Each task named in a `Watch` is told once, in the next frame, whether it changed or not.
    """

    id: TaskId
    task: TaskView | None
    execution: ExecutionView | None
    output: bool = False  # there is more of it than before


class Changes(Model):
    """What is new since the frame before. Each thing named is given whole."""

    type: Literal["changes"] = "changes"
    server: ServerInfo  # always: its clock and its counts
    batches: list[BatchView] = Field(default_factory=list)
    gone_batches: list[Name] = Field(default_factory=list)
    workers: list[WorkerView] = Field(default_factory=list)
    gone_workers: list[Name] = Field(default_factory=list)
    jobs: list[JobView] = Field(default_factory=list)
    gone_jobs: list[Count] = Field(default_factory=list)
    events: list[EventView] = Field(default_factory=list)
    history: list[Point] = Field(default_factory=list)  # points that changed or came
    watched: list[Watched] = Field(default_factory=list)
    missed: bool = False  # this viewer was too slow; lists of tasks may have changed anyhow


ToViewer = Annotated[Snapshot | Changes, Field(discriminator="type")]

to_viewer: TypeAdapter[Snapshot | Changes] = TypeAdapter(ToViewer)
from_viewer: TypeAdapter[Watch] = TypeAdapter(Watch)
