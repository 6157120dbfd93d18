"""How a `Fetcher` behaves: its bounds, its patience, and what it may touch."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ENA_URL: Final = "https://www.ebi.ac.uk/ena/portal/api/filereport"


def _ena_url() -> str:
    return os.environ.get("PYTQ_ENA_URL") or ENA_URL


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Bounds of one `Fetcher`. Durations are seconds, sizes bytes."""

    concurrency: int = 32  # files under way at once in this process
    per_host: int = 16  # of them from or to one host
    streams: int = 4  # ranges of one big file at once
    attempts: int = 5  # of one file, when what went wrong may pass
    backoff: float = 0.5  # before the second attempt, doubling from there, with jitter
    backoff_max: float = 30.0
    stall: float = 60.0  # without a single byte, then the attempt is over
    connect: float = 15.0  # until a server answers the telephone
    file_roots: tuple[Path, ...] = (Path("/"),)  # below these file:// may read and write
    ena_url: str = field(default_factory=_ena_url)  # $PYTQ_ENA_URL, or the real one
