"""Who may do what: roles, tokens, and what the API tells of them.

A person's role includes those before it: a viewer looks, a submitter also submits and changes
what is their own, an operator changes any task, batch or worker, an admin hands out tokens. A
worker is no person: its token opens the link and nothing else.
"""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from pytq.schema import limits
from pytq.schema.text import Count, Model, Name, Seconds
from pytq.schema.views import Time

# So that scanners for leaked secrets, and people, know one when they see it.
PREFIX: Final = "pytq_"
TOKEN_PATTERN: Final = rf"^{PREFIX}[A-Za-z0-9_-]{{43}}$"


class Role(StrEnum):
    """What a token is good for."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    OPERATOR = "operator"
    ADMIN = "admin"
    WORKER = "worker"


_PEOPLE: Final = (Role.VIEWER, Role.SUBMITTER, Role.OPERATOR, Role.ADMIN)


def may(role: Role, need: Role) -> bool:
    """Whether somebody of a role may do what needs `need`."""
    if Role.WORKER in (role, need):
        return role is need
    return _PEOPLE.index(role) >= _PEOPLE.index(need)


Secret = Annotated[str, StringConstraints(pattern=TOKEN_PATTERN)]


class TokenOrder(Model):
    """A token to be made."""

    name: Name  # whose it is: events tell who did something by it
    role: Role = Role.SUBMITTER
    expires_in: Seconds | None = None  # None: good until it is revoked


class TokenView(Model):
    """What is known of a token; the token itself is known to its holder alone."""

    id: Count
    name: Name
    role: Role
    created_at: Time
    created_by: str
    expires_at: Time | None
    used_at: Time | None  # for the last time since the server started


class NewToken(Model):
    """A token that was just made. This is the only time it is shown."""

    token: Secret
    view: TokenView


class CallerView(Model):
    """Who the server takes the caller for."""

    name: Name
    role: Role


class LoginCode(Model):
    """A code that is good once, for a short while: a browser turns it into a session."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=limits.NAME_CHARS)]


class NewCode(LoginCode):
    """A login code that was just made."""

    seconds: Annotated[float, Field(gt=0)]  # it is good for


class Session(Model):
    """A browser's own token: the rights of who made the code, for a day at most."""

    token: Secret
    name: Name
    role: Role
    seconds: Annotated[float, Field(gt=0)]  # it is good for
