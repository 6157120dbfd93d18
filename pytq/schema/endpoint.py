"""What is declared of each REST endpoint."""

from dataclasses import dataclass, field
from typing import Any

from pytq.schema.access import Role
from pytq.schema.text import Model


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One REST endpoint. `role`: whom it lets in; None is everybody, even without a token."""

    method: str
    path: str
    summary: str
    tag: str
    role: Role | None = field(kw_only=True)
    answer: Any = None  # a model, or None for an answer without a body
    place: type[Model] | None = None
    query: type[Model] | None = None
    body: Any = None
    status: int = 200
    raw: bool = False
    idempotent_by_key: bool = False  # takes an Idempotency-Key header
    problems: tuple[int, ...] = ()  # beside those every endpoint may answer with
