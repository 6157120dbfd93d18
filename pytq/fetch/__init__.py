"""Moving files between this machine and URIs, for workers, people and programs.

`Fetcher` is for programs with an event loop; `get`, `put`, `entries` and `remove` are for those
without.
"""

from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.fetcher import Fetcher
from pytq.fetch.options import FetchOptions
from pytq.fetch.transfer import Entry, Progress

__all__ = ["Entry", "FetchError", "FetchFailure", "FetchOptions", "Fetcher", "Progress"]
