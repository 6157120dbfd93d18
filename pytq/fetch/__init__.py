"""Moving files between this machine and URIs, for workers, people and programs.

`Fetcher` is for programs with an event loop; `get`, `put`, `entries`, `remove` and `sync` are for
those without: `pytq.fetch.get("s3://bucket/reads/", "reads")`.
"""

from pytq.fetch.blocking import entries, get, put, remove, sync
from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.fetcher import Fetcher
from pytq.fetch.options import FetchOptions
from pytq.fetch.sync import Changes
from pytq.fetch.transfer import Entry, Progress

__all__ = [
    "Changes",
    "Entry",
    "FetchError",
    "FetchFailure",
    "FetchOptions",
    "Fetcher",
    "Progress",
    "entries",
    "get",
    "put",
    "remove",
    "sync",
]
