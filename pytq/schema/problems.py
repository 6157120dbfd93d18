"""The one shape of every error the API answers with."""

from typing import Annotated

from pydantic import Field

from pytq.schema.text import Model


class FieldError(Model):
    """One thing that is wrong with a request, and where."""

    field: str
    message: str


class Problem(Model):
    """What is wrong, in which field, and what to do about it."""

    status: Annotated[int, Field(ge=400, le=599)]
    code: str  # a word for programs: invalid, not_found, conflict, too_large, …
    message: str
    field: str | None = None
    cure: str | None = None
    errors: list[FieldError] = Field(default_factory=list)


class PytqError(Exception):
    """The root of PYTQ's own errors: each is a problem that can be shown to a person."""

    status = 500
    code = "error"
    retry_after: float | None = None  # seconds; then the same may succeed

    def __init__(self, message: str, *, field: str | None = None, cure: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.cure = cure

    def as_problem(self) -> Problem:
        """This error as the API shows it."""
        return Problem(
            status=self.status, code=self.code, message=str(self), field=self.field, cure=self.cure
        )


class InvalidError(PytqError):
    """The request cannot be understood or would break a rule."""

    status = 422
    code = "invalid"


class MalformedError(PytqError):
    """The request's body is not JSON."""

    status = 400
    code = "malformed"


class NotFoundError(PytqError):
    """There is no such thing."""

    status = 404
    code = "not_found"


class ConflictError(PytqError):
    """The thing is not in a state that allows this."""

    status = 409
    code = "conflict"


class UnauthorizedError(PytqError):
    """The request shows no token, or none that is known."""

    status = 401
    code = "unauthorized"


class ForbiddenError(PytqError):
    """The request comes from where none may come from, or from somebody who may not do this."""

    status = 403
    code = "forbidden"


class TooLargeError(PytqError):
    """The request's body is larger than the server takes."""

    status = 413
    code = "too_large"


class SlowError(PytqError):
    """The request did not arrive whole in time."""

    status = 408
    code = "slow"


class TooManyError(PytqError):
    """Too many requests; nothing was changed."""

    status = 429
    code = "too_many"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        cure: str | None = None,
        retry_after: float = 1.0,
    ) -> None:
        super().__init__(message, field=field, cure=cure)
        self.retry_after = retry_after


class BusyError(PytqError):
    """The database cannot be reached just now; nothing was changed."""

    status = 503
    code = "busy"
    retry_after = 1.0


class StorageFullError(PytqError):
    """The server's disk is full; nothing was changed."""

    status = 507
    code = "storage_full"
