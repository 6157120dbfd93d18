"""What happened, and what somebody wants to see: the plot of the application."""

from textual.message import Message

from pytq.tui.acts import Act
from pytq.tui.filters import TaskQuery
from pytq.tui.model import Kind


class News(Message):
    """The store has changed, or a second has passed."""

    def __init__(self, touched: frozenset[Kind]) -> None:
        super().__init__()
        self.touched = touched


class LinkChanged(Message):
    """The server has gone away, or is back."""


class Done(Message):
    """The server did what it was asked."""

    def __init__(self, act: Act, sentence: str) -> None:
        super().__init__()
        self.act = act
        self.sentence = sentence


class Refused(Message):
    """The server did not do what it was asked, and says why."""

    def __init__(self, act: Act, sentence: str) -> None:
        super().__init__()
        self.act = act
        self.sentence = sentence


class ShowTasks(Message):
    """Somebody wants to see these tasks."""

    def __init__(self, query: TaskQuery) -> None:
        super().__init__()
        self.query = query


class ShowTask(Message):
    """Somebody wants to see a task."""

    def __init__(self, task: int) -> None:
        super().__init__()
        self.task = task


class ShowWorkers(Message):
    """Somebody wants to see the workers that a filter finds."""

    def __init__(self, filter_: str) -> None:
        super().__init__()
        self.filter = filter_


class ShowWorker(Message):
    """Somebody wants to see a worker."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class ShowBatch(Message):
    """Somebody wants to see a batch."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class ShowJob(Message):
    """Somebody wants to see a job."""

    def __init__(self, job: int) -> None:
        super().__init__()
        self.job = job
