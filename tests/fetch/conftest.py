"""Fetchers that lose patience within a second, and servers to try them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fetch_parts import CALM, QUICK
from servers import s3
from servers.ftp import FtpServer, ftp_server
from servers.meddler import Meddler, meddler
from servers.web import LyingServer, lying_server

from pytq.fetch import Fetcher


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    """A fetcher that gives up quickly."""
    async with Fetcher(QUICK) as made:
        yield made


@pytest.fixture
async def calm() -> AsyncIterator[Fetcher]:
    """A fetcher for big files on a busy machine."""
    async with Fetcher(CALM) as made:
        yield made


@pytest.fixture
def web() -> Iterator[LyingServer]:
    with lying_server() as server:
        yield server


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[FtpServer]:
    root = tmp_path / "ftp"
    root.mkdir()
    with ftp_server(root) as server:
        yield server


@pytest.fixture(scope="session")
def s3_servers() -> Iterator[dict[str, s3.S3Server]]:
    """Every S3 server there is here, started when it is first asked for."""
    with ExitStack() as stack:
        yield _Servers(stack)


class _Servers(dict[str, s3.S3Server]):
    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, kind: str) -> s3.S3Server:
        if kind == "ceph" and not s3.has_ceph():
            pytest.skip("Ceph is not installed: apt-get install ceph-mon ceph-osd radosgw")
        made = self._stack.enter_context(s3.ceph() if kind == "ceph" else s3.moto())
        made.client().create_bucket(Bucket="data")
        self[kind] = made
        return made


@pytest.fixture(params=["moto", "ceph"])
def store(
    request: pytest.FixtureRequest,
    s3_servers: dict[str, s3.S3Server],
    monkeypatch: pytest.MonkeyPatch,
) -> s3.S3Server:
    """An S3 server, known to the environment; its bucket `data` is empty."""
    server = s3_servers[request.param]
    _forget_everything(server)
    _tell(server, monkeypatch)
    return server


@pytest.fixture
def spoiled(
    s3_servers: dict[str, s3.S3Server], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Meddler]:
    """A meddling proxy in front of moto, known to the environment."""
    server = s3_servers["moto"]
    _forget_everything(server)
    with meddler(server.endpoint) as proxy:
        _tell(server, monkeypatch)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def _tell(server: s3.S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def _forget_everything(server: s3.S3Server) -> None:
    client = server.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="data"):
        for one in page.get("Contents", []):
            client.delete_object(Bucket="data", Key=one["Key"])
    for upload in client.list_multipart_uploads(Bucket="data").get("Uploads", []):
        client.abort_multipart_upload(Bucket="data", Key=upload["Key"], UploadId=upload["UploadId"])
