"""The worker's tests: real processes, real folders, a real link."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_parts import Keeper


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    one = Keeper(tmp_path)
    yield one
    one.close()
