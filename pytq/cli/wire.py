"""The least that can ask a PYTQ server something: standard library only, for `pytq launch`.

Everything else uses `pytq.client`; this file exists because importing that takes longer than a
launch may.
"""

import http.client
import json
import time
from typing import Any

from pytq import credentials
from pytq.schema.address import Address

_PAUSES = (0.1, 0.3, 0.9)  # seconds between attempts
_NOTHING_CHANGED = (429, 502, 503, 504)  # worth another attempt
_LONGEST_PAUSE = 5.0
_ERROR = 400
_NO_TOKEN = 401


class UnreachableError(Exception):
    """The server cannot be reached."""

    def __init__(self, address: Address, why: str) -> None:
        super().__init__(
            f"cannot reach the PYTQ server at {address} ({why});"
            " start one with `pytq server` or give -s HOST"
        )


class RefusedError(Exception):
    """The server answered with a problem; the text is fit for people."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def call(
    address: Address,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    key: str | None = None,
    timeout: float = 60.0,
) -> Any:
    """Ask for `path` below /api/v1 and return the JSON of the answer.

    Tries again when the connection fails or the server is busy, so a call that changes something
    needs an idempotency `key`.
    """
    for pause in (*_PAUSES, None):
        asked_for = 0.0
        try:
            headers = _headers(address, key)
            status, data, asked_for = _once(address, method, path, body, headers, timeout)
        except credentials.CredentialsError as error:
            raise RefusedError(_NO_TOKEN, str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            trouble = credentials.tls_trouble(error, address)
            if pause is None or trouble is not None:
                raise UnreachableError(address, trouble or _why(error)) from error
        else:
            if status < _ERROR:
                return _json(address, data)
            if status not in _NOTHING_CHANGED or pause is None:
                raise RefusedError(status, _problem(status, data))
        time.sleep(max(pause, asked_for))
    raise AssertionError  # the last round returns or raises


def _headers(address: Address, key: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    token = credentials.token_for(address)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _once(
    address: Address,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    timeout: float,
) -> tuple[int, bytes, float]:
    host, port = address.host, address.port
    connection: http.client.HTTPConnection
    if address.secure:
        tls = credentials.tls()
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=tls)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request(method, f"{address.path}/api/v1{path}", body, headers)
        response = connection.getresponse()
        return response.status, response.read(), _pause_asked_for(response)
    finally:
        connection.close()


def _pause_asked_for(response: http.client.HTTPResponse) -> float:
    given = response.getheader("Retry-After") or ""
    return min(float(given), _LONGEST_PAUSE) if given.isascii() and given.isdigit() else 0.0


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _json(address: Address, data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError as error:
        raise RefusedError(
            502, f"what answers at {address} is no PYTQ server; check -s and PYTQ_SERVER"
        ) from error


def _problem(status: int, data: bytes) -> str:
    try:
        problem = json.loads(data)
        message = str(problem["message"])
    except (ValueError, LookupError, TypeError):
        return f"the server answered {status} without saying why; check -s and PYTQ_SERVER"
    errors = problem.get("errors") or []
    named = [f"{one.get('field')}: {one.get('message')}" for one in errors]
    return explain(message, problem.get("field"), problem.get("cure"), named)


def explain(message: str, field: str | None, cure: str | None, errors: list[str]) -> str:
    """A problem as lines for a person: what is wrong, in which field, and what to do."""
    text = message
    if field and field not in message:
        text = f"{field}: {message}"
    if cure:
        text = f"{text.rstrip('.')}; {cure}"
    more = [line for line in errors if line not in text]
    shown = [text, *more] if len(errors) > 1 else [text]
    return harmless("\n  ".join(shown))


def harmless(text: str) -> str:
    r"""`text` with everything that could fool a terminal written out, as in `\x1b`."""
    return "".join(
        char
        if char.isprintable() or char == "\n"
        else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )
