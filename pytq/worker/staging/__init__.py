"""How inputs come and outputs go: everything here runs in the porter's own loop, or in threads.

`inward` and `outward` are what a task sees of it; `resources` is what tasks share. The bytes
themselves are moved by `pytq.fetch`.
"""

from pytq.schema.states import Cause
from pytq.worker.staging.disk import FULL

__all__ = ["FULL", "StagingError"]


class StagingError(Exception):
    """Why something could not be staged; the text names the URI.

    `transient`: at another time, or on another worker, it may well work.
    """

    def __init__(self, text: str, cause: Cause, *, transient: bool = False) -> None:
        super().__init__(text)
        self.cause = cause
        self.transient = transient
