"""How a `Fetcher` behaves: its bounds, its patience, and what it may touch."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ENA_URL: Final = "https://www.ebi.ac.uk/ena/portal/api/filereport"
# Where a file of ENA's report, which names a host and a path, is to be had.
ENA_HTTPS: Final = "https://{host}/{path}"
ENA_FTP: Final = "ftp://{host}/{path}"


def _of_environment(name: str, default: str) -> Any:
    return field(default_factory=lambda: os.environ.get(name) or default)


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Bounds of one `Fetcher`. Durations are seconds, sizes bytes."""

    concurrency: int = 32  # files under way at once in this process
    per_host: int = 32  # of them from or to one host
    streams: int = 4  # ranges of one big file at once
    attempts: int = 5  # of one file without getting any further, when what went wrong may pass
    backoff: float = 0.5  # before the second attempt, doubling from there, with jitter
    backoff_max: float = 30.0
    stall: float = 60.0  # without a single byte, then the attempt is over
    connect: float = 15.0  # until a server answers the telephone
    file_roots: tuple[Path, ...] = (Path("/"),)  # below these file:// may read and write
    # Of a mirror of ENA: $PYTQ_ENA_URL, $PYTQ_ENA_HTTPS and $PYTQ_ENA_FTP.
    ena_url: str = _of_environment("PYTQ_ENA_URL", ENA_URL)
    ena_https: str = _of_environment("PYTQ_ENA_HTTPS", ENA_HTTPS)
    ena_ftp: str = _of_environment("PYTQ_ENA_FTP", ENA_FTP)
