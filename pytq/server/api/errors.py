"""Every error leaves the API in one shape: a `Problem`, with the cure where we know one."""

import logging
import math
import secrets
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from pytq.schema.problems import FieldError, InvalidError, Problem, PytqError

log = logging.getLogger(__name__)

CODES: Final = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "slow",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many",
}


class InvalidRequestError(InvalidError):
    """Several things are wrong with a request; the message tells the first."""

    def __init__(
        self,
        message: str,
        errors: list[FieldError],
        *,
        field: str | None = None,
        cure: str | None = None,
    ) -> None:
        super().__init__(message, field=field, cure=cure)
        self.errors = errors

    def as_problem(self) -> Problem:
        """This error as the API shows it."""
        return super().as_problem().model_copy(update={"errors": self.errors})


class MediaTypeError(PytqError):
    """The request's body is of a kind that the API does not read."""

    status = 415
    code = CODES[415]


def answer(problem: Problem, retry_after: float | None = None) -> web.Response:
    """A problem as an HTTP response."""
    response = web.Response(
        status=problem.status,
        body=problem.model_dump_json().encode(),
        content_type="application/json",
    )
    if retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(retry_after))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="PYTQ"'
    return response


@web.middleware
async def show_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong into a problem."""
    try:
        return await handler(request)
    except PytqError as error:
        return answer(error.as_problem(), error.retry_after)
    except web.HTTPException as error:
        return _from_aiohttp(request, error)
    except Exception as error:
        if isinstance(error, ConnectionError) and _has_gone(request):
            return web.Response(status=HTTPStatus.BAD_REQUEST)  # heard by nobody
        number = secrets.token_hex(4)
        log.exception("error %s in %s %s", number, request.method, request.rel_url.raw_path)
        if request.writer.output_size:
            raise  # a stream or the link is under way; HTTP has nothing more to say there
        return answer(_internal(number))


def _has_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> web.Response:
    if error.status < HTTPStatus.BAD_REQUEST:
        raise error
    response = answer(
        Problem(
            status=error.status,
            code=CODES.get(error.status, "error"),
            message=_sentence(request, error),
            cure="`/` shows everything there is" if error.status == HTTPStatus.NOT_FOUND else None,
        )
    )
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _sentence(request: web.Request, error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPNotFound):
        return "there is nothing at this address"
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return f"{request.method} is not possible here; {allowed} is"
    return error.reason


def _internal(number: str) -> Problem:
    return Problem(
        status=500,
        code="error",
        message=f"the server made a mistake, number {number}",
        cure=f"its log tells more: look for {number}",
    )
