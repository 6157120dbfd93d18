"""How `pytq.client` speaks: one HTTP session, problems turned into errors, harmless repeats."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Hashable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from copy import copy
from functools import cache
from typing import Any, Final, NamedTuple, Self, TypeVar, cast
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError
from yarl import URL

from pytq import credentials
from pytq.identity import InsecureError, Shown, tls_for
from pytq.schema import address, limits
from pytq.schema.endpoints import ENDPOINTS, PREFIX, Endpoint
from pytq.schema.problems import Problem, PytqError
from pytq.schema.stream import STREAM_PATH, Changes, Snapshot, Watch, to_viewer
from pytq.troubles import why

T = TypeVar("T")

PATIENCE_SECONDS: Final = 30.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_CLOSE_SECONDS: Final = 2.0
_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, sock_connect=10.0, sock_read=limits.WAIT_SECONDS + 35.0
)
_NOTHING_CHANGED: Final = frozenset({429, 503})
_NO_TOKEN: Final = 401
_FROM_A_PROXY: Final = frozenset({502, 504})  # nobody knows what was changed
_LARGEST_GOOD_STATUS: Final = 299
# Asking these twice is asking them once: they read, or say how something shall be.
_REPEATABLE: Final = frozenset({"wait_for_tasks", "update_task", "update_batch", "update_worker"})


class UnreachableError(PytqError):
    """The server cannot be reached. `unsent`: it surely never saw the request."""

    status = 503
    code = "unreachable"

    def __init__(self, place: address.Address, why: str, *, unsent: bool) -> None:
        super().__init__(
            f"cannot reach the PYTQ server at {place} ({why})",
            cure="start one with `pytq server` or give -s HOST",
        )
        self.unsent = unsent


class Raw(NamedTuple):
    """An answer as it came."""

    content: bytes
    headers: Mapping[str, str]


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


@cache
def _error_kinds() -> dict[str, type[PytqError]]:
    kinds: dict[str, type[PytqError]] = {}
    found = [PytqError]
    while found:
        kind = found.pop()
        kinds.setdefault(kind.code, kind)
        found += kind.__subclasses__()
    return kinds


def error_of(problem: Problem) -> PytqError:
    """The exception a problem stands for; its further errors become notes."""
    kind = _error_kinds().get(problem.code, PytqError)
    if issubclass(kind, UnreachableError):
        kind = PytqError
    error = kind(problem.message, field=problem.field, cure=problem.cure)
    error.status, error.code = problem.status, problem.code
    if len(problem.errors) > 1:
        for one in problem.errors:
            error.add_note(f"{one.field}: {one.message}")
    return error


class Stream:
    """An open event stream: iterate over it for its frames, until the connection ends."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def watch(self, tasks: Iterable[int]) -> None:
        """Hear of these tasks one by one, instead of those before."""
        with suppress(ConnectionError):  # whoever iterates sees the end
            await self._socket.send_str(Watch(tasks=list(tasks)).model_dump_json())

    async def __aiter__(self) -> AsyncIterator[Snapshot | Changes]:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                yield to_viewer.validate_json(message.data, strict=False, extra="ignore")


class Transport:
    """A session with one server.

    `patience` is how many seconds a call goes on trying while the server cannot be reached (None:
    for ever). A call is repeated only where that is harmless: it reads, says how something shall
    be, carries an idempotency key, or surely never arrived.

    Without a `token` it is found as `pytq.credentials` says; https is checked against what this
    machine trusts, or `$PYTQ_CA`.
    """

    def __init__(
        self,
        server: str | address.Address | None = None,
        *,
        token: str | None = None,
        patience: float | None = PATIENCE_SECONDS,
        resolver: aiohttp.abc.AbstractResolver | None = None,
    ) -> None:
        given = server or os.environ.get("PYTQ_SERVER") or address.DEFAULT_SERVER
        self.address = given if isinstance(given, address.Address) else address.parse(given)
        self.patience = patience
        self._shown = Shown(self.address, token, credentials.ADMIN)
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(resolver=self._resolver, ssl=tls_for(self.address))
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def stream(self) -> AsyncIterator["Stream"]:
        """The server's event stream, for as long as the block lasts. Connects once.

        Raises `UnreachableError` where that is not possible.
        """
        session = self._open_session()
        url = URL(self.address.url + PREFIX + STREAM_PATH, encoded=True)
        try:
            socket = await session.ws_connect(
                url,
                headers=self._shown.headers(),
                heartbeat=limits.HEARTBEAT_SECONDS,
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == _NO_TOKEN:
                self._shown.look_again()
            raise self._refusal(error.status, b"") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._shown.look_again()
            raise self._unreachable(error, unsent=True) from error
        async with socket:
            yield Stream(socket)

    def patient(self, seconds: float | None) -> Self:
        """The same session with another patience."""
        twin = copy(self)
        twin.patience = seconds
        return twin

    async def call(
        self,
        kind: type[T],
        name: str,
        place: dict[str, Any] | None = None,
        *,
        query: BaseModel | None = None,
        body: BaseModel | bytes | None = None,
        key: str | None = None,
    ) -> T:
        """Call the endpoint `name`, wait out an unreachable server, return its answer as `kind`."""
        endpoint = ENDPOINTS[name]
        url = URL(
            self.address.url + PREFIX + _path(endpoint, place or {}), encoded=True
        ).extend_query(_params(query))
        again = endpoint.method == "GET" or key is not None or name in _REPEATABLE
        data = json_of(body) if isinstance(body, BaseModel) else body
        deadline = None if self.patience is None else time.monotonic() + self.patience
        for usual_pause in _pauses():
            try:
                raw = await self._once(endpoint.method, url, data, key)
                return cast(T, raw) if kind is Raw else self._parsed(kind, raw.content)
            except PytqError as error:
                # A server that was started anew has left another token here.
                another = error.status == _NO_TOKEN and self._shown.look_again()
                if not another and not _worth_repeating(error, again=again):
                    raise
                pause = 0.0 if another else max(usual_pause, error.retry_after or 0.0)
                if deadline is not None and time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError  # the pauses never run out

    async def _once(
        self,
        method: str,
        url: URL,
        data: bytes | None,
        key: str | None,
    ) -> Raw:
        session = self._open_session()
        headers = self._shown.headers()
        if data is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            async with session.request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as response:
                raw = Raw(await response.read(), response.headers)
                status = response.status
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self._shown.look_again()
            raise self._unreachable(error, unsent=True) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error, unsent=False) from error
        if status > _LARGEST_GOOD_STATUS:
            refusal = self._refusal(status, raw.content)
            refusal.retry_after = _pause_asked_for(raw.headers)
            raise refusal
        return raw

    def _unreachable(self, error: Exception, *, unsent: bool) -> PytqError:
        trouble = credentials.tls_trouble(error, self.address)
        if trouble is not None:  # no patience helps with that
            return InsecureError(
                f"no safe connection to the PYTQ server at {self.address}: {trouble}"
            )
        return UnreachableError(self.address, why(error.__cause__ or error), unsent=unsent)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client inside `async with Client(…) as client:`")
        return self._session

    def _parsed(self, kind: type[T], content: bytes) -> T:
        try:
            # A server that is newer than this client may say more than we know. Not strict,
            # because JSON has no times.
            answer: T = _adapter(cast(Hashable, kind)).validate_json(
                content, strict=False, extra="ignore"
            )
        except ValidationError as error:
            raise PytqError(
                f"the server at {self.address} gave an answer this version cannot read",
                cure="compare `pytq --version` here and there",
            ) from error
        return answer

    def _refusal(self, status: int, content: bytes) -> PytqError:
        with suppress(ValidationError):
            return error_of(Problem.model_validate_json(content, extra="ignore"))
        error = PytqError(
            f"the server at {self.address} answered {status} without saying why",
            cure="check that it is a PYTQ server",
        )
        error.status = status
        return error


def _worth_repeating(error: PytqError, *, again: bool) -> bool:
    if isinstance(error, UnreachableError):
        return again or error.unsent
    return error.status in _NOTHING_CHANGED or (again and error.status in _FROM_A_PROXY)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        # Jitter, so that a thousand clients do not come back in the same instant.
        yield pause * random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret about a pause
        pause = min(pause * 2, _LONGEST_PAUSE)


def _pause_asked_for(headers: Mapping[str, str]) -> float | None:
    given = headers.get("Retry-After", "")
    return min(float(given), _LONGEST_PAUSE) if given.isascii() and given.isdigit() else None


def json_of(model: BaseModel) -> bytes:
    """A model as the API takes it: only what was said."""
    return model.model_dump_json(exclude_unset=True).encode()


def _path(endpoint: Endpoint, place: dict[str, Any]) -> str:
    return endpoint.path.format_map(
        {name: quote(str(value), safe="") for name, value in place.items()}
    )


def _params(query: BaseModel | None) -> list[tuple[str, str]]:
    if query is None:
        return []
    params: list[tuple[str, str]] = []
    for name, value in query.model_dump(mode="json", exclude_defaults=True).items():
        values = value if isinstance(value, list) else [value]
        params += [(name, _param(one)) for one in values]
    return params


def _param(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
