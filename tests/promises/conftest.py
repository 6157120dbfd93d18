"""Promises are kept by whole systems: real servers, real workers, real faults."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

for folder in ("process", "worker", "promises"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

from sites import Site  # noqa: E402 - the lines above find it

Open = Callable[..., Site]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Open]:
    """Open a server of this test's own: `site(database_uri, PYTQ_LEASE_SECONDS="10")`."""
    with ExitStack() as stack:

        def begin(database_uri: str | None = None, *, start: bool = True, **env: str) -> Site:
            one = Site(tmp_path, database_uri)
            stack.callback(one.stop)
            one.env |= env
            if start:
                one.start_server()
            return one

        yield begin
