"""S3 behind a certificate that only AWS_CA_BUNDLE vouches for."""

import os
import ssl
from pathlib import Path

import pytest
from doors.certificates import Authority
from fetch_parts import CALM
from servers.meddler import Meddler, meddler
from servers.s3 import S3Server

from pytq.fetch import Fetcher, FetchError

SMALL = os.urandom(300_000)


async def test_who_vouches_for_the_endpoint_can_be_named(
    fetcher: Fetcher,
    spoiled: Meddler,
    s3_servers: dict[str, S3Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """AWS_CA_BUNDLE counts for what comes, for what goes, and for listing; without it, no trust."""
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.vouch("127.0.0.1"))
    (tmp_path / "a").write_bytes(SMALL)
    with meddler(s3_servers["moto"].endpoint, context) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        with pytest.raises(FetchError):
            await fetcher.put(tmp_path / "a", "s3://data/a")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.file))
        async with Fetcher(CALM) as trusting:
            await trusting.put(tmp_path / "a", "s3://data/a")
            await trusting.get("s3://data/a", tmp_path / "back")
            listed = [entry.name async for entry in trusting.list("s3://data/")]

    assert (tmp_path / "back").read_bytes() == SMALL
    assert listed == ["a"]


async def test_a_bundle_that_cannot_be_read_is_named(
    fetcher: Fetcher, spoiled: Meddler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in AWS_CA_BUNDLE is told by its name."""
    (tmp_path / "a").write_bytes(SMALL)
    (tmp_path / "no.pem").write_bytes(b"nothing")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "no.pem"))

    with pytest.raises(FetchError, match=r"no\.pem") as caught:
        await fetcher.put(tmp_path / "a", "s3://data/a")
    assert not caught.value.transient
