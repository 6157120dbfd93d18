"""JSON bodies: read within bounds, validated once, refused with a reason."""

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, get_args, get_origin

from aiohttp import web
from pydantic import FailFast, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from pytq.schema import limits
from pytq.schema.problems import (
    InvalidError,
    MalformedError,
    PytqError,
    SlowError,
    TooLargeError,
)
from pytq.server.api import explain
from pytq.server.api.errors import MediaTypeError

# Pydantic collects every error before it gives up, and each costs hundreds of bytes. An error
# needs a value and values need commas, so these bound what a body made of errors can cost.
VALUES_PER_OBJECT: Final = 100_000
VALUES_PER_LIST: Final = 1_000_000
ERRORS_EXPLAINED: Final = 10_000
ITEMS_EXPLAINED: Final = 1_000

_LIST: Final = re.compile(rb"[ \t\r\n]*\[")


async def raw_body(request: web.Request) -> bytes:
    """The bytes of a JSON body, within bounds."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise MediaTypeError("the body is compressed", cure="send it as it is")
    if (request.content_length or 0) > limits.BODY_BYTES:
        raise _too_large()
    raw = await _read(request)
    if not raw:
        raise MalformedError("the request has no body", cure="send a JSON object")
    if request.content_type != "application/json" or request.charset not in {None, "utf-8"}:
        raise MediaTypeError(
            "the body is not marked as JSON", cure="send Content-Type: application/json"
        )
    return raw


async def _read(request: web.Request) -> bytes:
    try:
        if request.content.is_eof():  # it came in one piece, as almost all do
            return await _gather(request, lambda: None)
        return await _gather_in_time(request)
    except web.RequestPayloadError:
        raise MalformedError("the body did not arrive whole") from None


async def _gather(request: web.Request, came: Callable[[], None]) -> bytes:
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        came()
        if len(raw) > limits.BODY_BYTES:
            raise _too_large()
    return bytes(raw)


async def _gather_in_time(request: web.Request) -> bytes:
    """Whoever sends a byte now and then holds nothing here for long."""
    clock = asyncio.get_running_loop().time
    end = clock() + limits.BODY_SECONDS
    try:
        async with asyncio.timeout(limits.BODY_STALL_SECONDS) as patience:
            return await _gather(
                request,
                lambda: patience.reschedule(min(end, clock() + limits.BODY_STALL_SECONDS)),
            )
    except TimeoutError:
        raise SlowError(
            "the body did not arrive in time", cure="send it again, in smaller parts"
        ) from None


def _too_large() -> TooLargeError:
    most = limits.BODY_BYTES // 2**20
    return TooLargeError(f"the body is larger than {most} MiB", cure="send it in parts")


class Body:
    """What an endpoint takes as its body: one object, or a list of them where it says so."""

    def __init__(self, shape: Any) -> None:
        choices = get_args(shape) or (shape,)
        (self._shape,) = (each for each in choices if not _is_list(each))
        self._one: TypeAdapter[Any] = TypeAdapter(self._shape)
        # One wrong item is enough to refuse them all; `_look_further` then reads the next ones.
        lists = [_stopping_early(each) for each in choices if _is_list(each)]
        self._many = TypeAdapter[Any](lists[0]) if lists else None

    def read(self, raw: bytes) -> Any:
        """The object, or the list, that a body says."""
        many = self._many if _LIST.match(raw) else None
        _refuse_bulk(raw, listed=many is not None)
        try:
            return _validated(many or self._one, raw)
        except ValidationError as error:
            raise self._refusal(error, raw, listed=many is not None) from None

    def _refusal(self, error: ValidationError, raw: bytes, *, listed: bool) -> PytqError:
        if error.error_count() > ERRORS_EXPLAINED:
            return InvalidError(f"more than {ERRORS_EXPLAINED:,} things are wrong in the body")
        sent = _parsed(raw)
        found = explain.findings(error, sent)
        if listed and found[0].path:
            found = self._look_further(sent, int(found[0].path[0])) or found
        return explain.collected(found, self._shape, skip=1 if listed else 0)

    def _look_further(self, sent: list[Any], first: int) -> list[explain.Finding]:
        found: list[explain.Finding] = []
        for position, item in enumerate(sent[first : first + ITEMS_EXPLAINED], first):
            try:
                _validated(self._one, to_json(item))
            except ValidationError as error:
                found += explain.findings(error, item, (position,))
            if len(found) >= explain.SHOWN:
                break
        return found


def _refuse_bulk(raw: bytes, *, listed: bool) -> None:
    values = raw.count(b",")
    if values <= VALUES_PER_OBJECT:
        return
    if not listed or values > VALUES_PER_LIST:
        raise TooLargeError("there are too many values in one request", cure="split it")
    for position, item in enumerate(_parsed(raw)):
        if to_json(item).count(b",") > VALUES_PER_OBJECT:
            raise TooLargeError("there are too many values in one task", field=str(position))


def _is_list(shape: Any) -> bool:
    return get_origin(next(explain.options(shape))) is list


def _stopping_early(shape: Any) -> Any:
    return Annotated[shape, FailFast()]


def _validated(adapter: TypeAdapter[Any], raw: bytes) -> Any:
    try:
        return adapter.validate_json(raw)
    except ValidationError as error:
        if error.error_count() > ERRORS_EXPLAINED or not any(map(_is_whole, error.errors())):
            raise
        # JSON has one kind of number: what JavaScript or R writes as 5.0 is an integer too.
        return adapter.validate_json(to_json(_with_integers(_parsed(raw))))


def _is_whole(detail: Any) -> bool:
    given = detail["input"]
    return detail["type"] == "int_type" and isinstance(given, float) and given.is_integer()


def _with_integers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_integers(each) for each in value]
    if isinstance(value, dict):
        return {key: _with_integers(each) for key, each in value.items()}
    return value


def _parsed(raw: bytes) -> Any:
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedError(f"the body is not JSON: {error}") from None
