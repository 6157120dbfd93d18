"""The bytes that come from S3, by obstore, whose Rust moves them outside of Python's lock.

It takes the credentials that aioboto3 found, makes one attempt at a time, and ends one without a
byte for too long. Keys that it would change (it knows no `//`) are none of its business; nor are
uploads: the buffer that it is lent can end the interpreter with SIGABRT at exit (0.12.1).
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.options import FetchOptions
from pytq.fetch.ranged import SMALL, Answer
from pytq.fetch.s3_account import Bucket, failure, md5_of
from pytq.schema.uris import Uri

STREAMED: Final = 1024 * 1024  # bytes that come in one piece
RENEW: Final = timedelta(minutes=5)  # credentials that change are asked for again
FOREVER: Final = timedelta(days=365)

_STATUS: Final = re.compile(r"status code: (\d{3})")


def exact(key: str) -> bool:
    """Whether obstore takes a key as it is."""
    words = key.split("/")
    return key.isprintable() and not {"", ".", ".."}.intersection(words)


class Objects:
    """The objects of one bucket."""

    def __init__(self, bucket: Bucket, options: FetchOptions) -> None:
        self._stall = options.stall
        self._store = _store(bucket, options)

    @asynccontextmanager
    async def open(
        self, uri: Uri, start: int, end: int | None, version: str | None
    ) -> AsyncIterator[Answer]:
        """Ask for a stretch of an object."""
        wanted: obstore.GetOptions = {}
        if end is not None:
            wanted["range"] = (start, end)
        elif start:
            wanted["range"] = {"offset": start}
        if version is not None:
            wanted["if_match"] = version
        with _told(uri, self._stall):
            found = await obstore.get_async(self._store, uri.path, options=wanted)
            begin, stop = found.range
            size, tag = found.meta["size"], found.meta["e_tag"]
            yield Answer(_pieces(found, stop - begin), begin, stop, size, tag, md5_of(tag))


async def _pieces(found: "obstore.GetResult", amount: int) -> AsyncIterator[bytes]:
    if amount <= SMALL:
        yield await found.bytes_async()  # type: ignore[misc]  # bytes to all who only read
        return
    async for piece in found.stream(min_chunk_size=STREAMED):
        yield piece


def _store(bucket: Bucket, options: FetchOptions) -> S3Store:
    path_style = bucket.base.endswith(f"/{bucket.name}/")
    endpoint = bucket.base.removesuffix(f"{bucket.name}/") if path_style else bucket.base
    patience: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=options.connect),
        "read_timeout": timedelta(seconds=options.stall),
        "timeout": FOREVER,  # of a whole request: there is no such limit
        "user_agent": "pytq",
    }
    if bucket.authorities is not None:
        patience["root_certificate"] = Path(bucket.authorities).read_bytes()
    return S3Store(
        bucket.name,
        endpoint=endpoint.rstrip("/"),
        region=bucket.region,
        virtual_hosted_style_request=not path_style,
        skip_signature=bucket.credentials is None,
        credential_provider=None if bucket.credentials is None else _provider(bucket),
        client_options=patience,  # type: ignore[arg-type]
        retry_config={"max_retries": 0, "retry_timeout": FOREVER},  # trying again is ours
    )


def _provider(bucket: Bucket) -> Any:
    async def provide() -> dict[str, Any]:
        frozen = await bucket.credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + RENEW,
        }

    return provide


@contextmanager
def _told(uri: Uri, stall: float) -> Any:
    """Turn obstore's errors into ours; their text has everything, and is for nobody's eyes."""
    try:
        yield
    except (BaseError, FileNotFoundError, PermissionError, OSError) as error:
        text = str(error)
        status = _STATUS.search(text)
        if status is not None:
            raise failure(uri, int(status[1]), text, {}) from None
        if "Timeout" in text or "TimedOut" in text:
            raise FetchError(uri, f"no byte for {stall:g} s", FetchFailure.STALLED) from None
        if "Connect" in text:
            reason = "the S3 endpoint does not answer; is AWS_ENDPOINT_URL right?"
            raise FetchError(uri, reason, FetchFailure.UNREACHABLE) from None
        reason = "the connection to the S3 endpoint broke off"
        raise FetchError(uri, reason, FetchFailure.BROKEN) from None
