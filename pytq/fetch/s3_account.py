"""Who we are to S3, and where a bucket is: aioboto3's credentials, region, endpoint and errors.

Everything comes from the standard environment (`AWS_*`) and the standard AWS files, profiles
included; without any credentials requests are anonymous, as public buckets like it. Credentials
that expire are renewed by botocore whenever a request is signed. They appear in no text.
"""

import asyncio
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
)
from botocore.utils import parse_timestamp
from yarl import URL

from pytq.fetch.engine import Item
from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.options import FetchOptions
from pytq.fetch.s3_sign import Signer
from pytq.fetch.transfer import Entry
from pytq.fetch.web import retry_after
from pytq.schema.uris import Uri

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import ListObjectsV2OutputTypeDef

DEFAULT_REGION: Final = "us-east-1"
AWS_HOSTS: Final = (".amazonaws.com", ".amazonaws.com.cn")
PAGE: Final = 1_000  # objects of one listing
UNSIGNED_BODY: Final = "UNSIGNED-PAYLOAD"
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]{1,100})</Code>")
_TAG: Final = re.compile(r'"?([0-9a-f]{32})"?')

_KINDS: Final = {
    int(HTTPStatus.NOT_FOUND): FetchFailure.MISSING,
    int(HTTPStatus.FORBIDDEN): FetchFailure.DENIED,
    int(HTTPStatus.UNAUTHORIZED): FetchFailure.DENIED,
    int(HTTPStatus.PRECONDITION_FAILED): FetchFailure.CHANGED,
    int(HTTPStatus.TOO_MANY_REQUESTS): FetchFailure.BUSY,
    int(HTTPStatus.REQUEST_TIMEOUT): FetchFailure.BUSY,
}
_DAMAGED: Final = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"})
_LATER: Final = frozenset({"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable"})
_CURES: Final = {
    "AccessDenied": "these S3 credentials may not do that; check the policy, or the name",
    "InvalidAccessKeyId": "the S3 endpoint does not know this access key; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the S3 secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the S3 session token has expired; renew AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "NoSuchBucket": "there is no such bucket; create it, or check its name and AWS_ENDPOINT_URL",
    "PreconditionFailed": "was replaced while it was fetched",
    "NoSuchKey": "there is no such object; a folder's name ends in /",
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket: where it is, and how to sign what is asked of it."""

    name: str
    base: str  # the URL that a key is appended to
    host: str  # of it, with its port if that is unusual
    path: str  # of it
    region: str
    signer: Signer
    client: "S3Client"
    credentials: Any  # botocore's, which renew themselves; None: anonymous
    authorities: str | None = None  # a file: who vouches for the endpoint, if not the usual ones
    trust: ssl.SSLContext | None = None  # the same, read

    def target(self, uri: Uri, query: str = "") -> str:
        """The path and query of an object, its key quoted as S3 wants it."""
        try:
            return f"{self.path}{quote(uri.path, safe='/~')}{query}"
        except UnicodeEncodeError as error:
            reason = "its name is not UTF-8, which S3 demands; rename it"
            raise FetchError(ascii(str(uri)), reason, FetchFailure.UNSAFE) from error

    async def signed(
        self,
        method: str,
        uri: Uri,
        query: str = "",
        digest: str = UNSIGNED_BODY,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[str, dict[str, str]]:
        """The path and query to ask for, and the headers that prove who asks, for 15 minutes.

        `digest`: the SHA-256 of the body, which the store then checks. `headers` are signed, too.
        """
        target, known = self.target(uri, query), {**(headers or {}), "Host": self.host}
        if self.credentials is None:
            return target, known
        keys = await self.credentials.get_frozen_credentials()
        return target, self.signer.sign(keys, method, target, known, digest, datetime.now(UTC))

    def url(self, target: str) -> URL:
        """The URL of a path and query that are signed."""
        return URL(f"{self.base.removesuffix(self.path)}{target}", encoded=True)

    async def list_page(self, uri: Uri, token: str) -> "ListObjectsV2OutputTypeDef":
        """One page of a prefix's objects."""
        more: Any = {"ContinuationToken": token} if token else {}
        with explained(uri):
            return await self.client.list_objects_v2(
                Bucket=self.name, Prefix=uri.path, MaxKeys=PAGE, **more
            )

    def item(self, uri: Uri, key: str, name: str, size: int, at: datetime, tag: str) -> Item:
        """An object as a listing shows it."""
        one = Uri("s3", uri.options, self.name, key, ())
        return Item(one, Entry(str(one), size, at, md5_of(tag), name, tag))

    async def facts(self, uri: Uri) -> "Facts":
        """What the store says of an object."""
        with explained(uri):
            found = await self.client.head_object(Bucket=self.name, Key=uri.path)
        plain = not found.get("ServerSideEncryption", "").startswith("aws:")
        plain = plain and "SSECustomerAlgorithm" not in found
        return Facts(found["ContentLength"], found["LastModified"], found["ETag"], plain)


@dataclass(frozen=True, slots=True)
class Facts:
    """An object as the store describes it."""

    size: int
    modified: datetime
    tag: str
    plain: bool  # its ETag is made of MD5s; it is not where keys of its own encrypt it


class Account:
    """aioboto3's session and clients, made when they are first needed."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._session: aioboto3.Session | None = None
        self._credentials: Any = None
        self._style: dict[str, str] = {}
        self._bundle: str | None = None
        self._clients: dict[str | None, S3Client] = {}
        self._buckets: dict[str, Bucket] = {}

    async def bucket(self, uri: Uri) -> Bucket:
        """The bucket of a URI."""
        async with self._lock:
            if uri.host not in self._buckets:
                with explained(uri):
                    self._buckets[uri.host] = await self._find(uri.host)
            return self._buckets[uri.host]

    async def close(self) -> None:
        """Close the clients."""
        await self._stack.aclose()

    async def _find(self, name: str) -> Bucket:
        client = await self._client(None)
        if _is_aws(client):
            client = await self._client(await _region_of(client, name))
        signed = await client.generate_presigned_url("head_bucket", Params={"Bucket": name})
        base = signed.partition("?")[0].rstrip("/") + "/"
        region = client.meta.region_name
        known = region if region and region != "aws-global" else DEFAULT_REGION
        bundle = self._bundle
        trust = None if bundle is None else _trusted(bundle)
        url = URL(base, encoded=True)
        return Bucket(
            name=name,
            base=base,
            host=url.host_port_subcomponent or "",
            path=url.raw_path,
            region=known,
            signer=Signer(known),
            client=client,
            credentials=self._credentials,
            authorities=bundle,
            trust=trust,
        )

    async def _client(self, region: str | None) -> "S3Client":
        if self._session is None:
            core = AioSession()
            answers = core.get_component("response_parser_factory")
            answers.set_parser_defaults(timestamp_parser=_moment)
            self._session = aioboto3.Session(botocore_session=core)
            self._credentials = await core.get_credentials()
            self._bundle = core.get_config_variable("ca_bundle") or None  # or $AWS_CA_BUNDLE
            # bucket.host needs a DNS entry for each bucket; host/bucket works everywhere.
            self._style = {"addressing_style": "path"} if _is_elsewhere(core) else {}
        if region not in self._clients:
            self._clients[region] = await self._made(self._session, region)
        return self._clients[region]

    async def _made(self, session: aioboto3.Session, region: str | None) -> "S3Client":
        config = AioConfig(
            signature_version=UNSIGNED if self._credentials is None else None,
            connect_timeout=self._options.connect,
            read_timeout=self._options.stall,
            retries={"total_max_attempts": 1},  # trying again is ours
            # Newer checksums are refused by some who speak S3; ours is MD5, which all know.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3=self._style or None,
        )
        return await self._stack.enter_async_context(
            session.client("s3", region_name=region, config=config)
        )


def _moment(said: Any) -> datetime:
    """A time as S3 writes it; botocore's own guess at it takes half the time of a listing."""
    try:
        return datetime.fromisoformat(str(said))
    except ValueError:
        found: datetime = parse_timestamp(said)
        return found


def _trusted(bundle: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=bundle)
    except (OSError, ssl.SSLError) as error:
        reason = "no certificates can be read from it; check AWS_CA_BUNDLE"
        raise FetchError(bundle, reason, FetchFailure.DENIED) from error


def _is_elsewhere(core: AioSession) -> bool:
    """Whether an endpoint is configured that is not Amazon's, and no style to address it."""
    known = core.get_scoped_config()
    if "addressing_style" in known.get("s3", {}):
        return False
    services = core.full_config.get("services", {}).get(known.get("services"), {})
    endpoint: str | None = (
        os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or services.get("s3", {}).get("endpoint_url")
        or known.get("endpoint_url")
    )
    return endpoint is not None and not (URL(endpoint).host or "").endswith(AWS_HOSTS)


def _is_aws(client: "S3Client") -> bool:
    return (URL(client.meta.endpoint_url).host or "").endswith(AWS_HOSTS)


async def _region_of(client: "S3Client", bucket: str) -> str | None:
    """Where Amazon keeps a bucket; a signature for another region is refused."""
    try:
        answer = await client.head_bucket(Bucket=bucket)
    except ClientError as error:
        # It tells even those who may not look into it.
        found = error.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
        if found is None:
            raise
        return str(found)
    return answer.get("BucketRegion")


class EmptyError(FetchError):
    """A range of nothing was asked for: of an object that is empty, or has become shorter."""


@contextmanager
def explained(uri: Uri) -> Iterator[None]:
    """Turn botocore's errors into ours."""
    try:
        yield
    except ClientError as error:
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        code = f"<Code>{answer.get('Error', {}).get('Code', '')}</Code>"
        raise failure(uri, status, code, headers) from error
    except (HTTPClientError, EndpointConnectionError, aiohttp.ClientError, OSError) as error:
        reason = "the S3 endpoint does not answer; is AWS_ENDPOINT_URL right?"
        raise FetchError(uri, reason, FetchFailure.UNREACHABLE) from error
    except BotoCoreError as error:
        # Its own words on profiles, regions and endpoints; they name no secrets.
        raise FetchError(uri, f"S3: {error}", FetchFailure.DENIED) from error


def failure(uri: Uri, status: int, body: str, headers: Mapping[str, str]) -> FetchError:
    """What an S3 server means by an error."""
    found = _CODE.search(body)
    code = found[1] if found else ""
    said = _CURES.get(code) or f"the S3 endpoint answers {status} {code}".rstrip()
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return EmptyError(uri, "has no such range", FetchFailure.CHANGED)
    if code in _DAMAGED:
        reason = "what arrived at the store is not what was sent"
        return FetchError(uri, reason, FetchFailure.CORRUPT, transient=True)
    if code in _LATER:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = _KINDS.get(status, FetchFailure.UNSUPPORTED)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = FetchFailure.BUSY
    if kind is FetchFailure.MISSING:
        said = _CURES.get(code, _CURES["NoSuchKey"])
    return FetchError(uri, said, kind, retry_after=retry_after(headers))


def md5_of(tag: str | None) -> str | None:
    """The MD5 that an ETag looks like: of an object that came in one request."""
    found = _TAG.fullmatch(tag or "")
    return f"md5:{found[1]}" if found else None
