"""Tests with a real dockerd: one for the session, and a registry on a free port."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "worker"))  # the scripted server, the keeper

from private_docker import PrivateDocker, PrivateRegistry, private_docker, program, why_not


@pytest.fixture(scope="session")
def docker() -> Iterator[PrivateDocker]:
    """A dockerd that restores its containers, with `busybox:test` in it."""
    reason = why_not()
    if reason:
        pytest.skip(f"no dockerd: {reason}")
    with private_docker() as one:
        yield one


@pytest.fixture(scope="session")
def registry(docker: PrivateDocker) -> Iterator[PrivateRegistry]:
    """A registry that wants a login."""
    if program("docker-registry") is None:
        pytest.skip("not installed: docker-registry; scripts/system-packages installs it")
    one = PrivateRegistry()
    try:
        one.start()
        yield one
    finally:
        one.dispose()
