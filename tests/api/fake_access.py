"""The part of the fake queue that gives people tokens."""

from dataclasses import dataclass, field

from fake_views import NOW, missing

from pytq.schema.access import (
    CallerView,
    LoginCode,
    NewCode,
    NewToken,
    Role,
    Session,
    TokenOrder,
    TokenView,
)
from pytq.schema.problems import (
    ConflictError,
    UnauthorizedError,
)
from pytq.server.keyring import calling


@dataclass
class FakeAccess:
    """Tokens by their name."""

    tokens: dict[str, TokenView] = field(default_factory=dict)

    async def create_token(self, body: TokenOrder) -> NewToken:
        if body.name in self.tokens:
            raise ConflictError(f"there is a token named {body.name}")
        self.tokens[body.name] = view = TokenView(
            id=len(self.tokens) + 1,
            name=body.name,
            role=body.role,
            created_at=NOW,
            created_by="local",
            expires_at=None,
            used_at=None,
        )
        return NewToken(token=f"pytq_{'x' * 43}", view=view)

    async def list_tokens(self) -> list[TokenView]:
        return list(self.tokens.values())

    async def revoke_token(self, name: str) -> None:
        if self.tokens.pop(name, None) is None:
            missing(f"token {name}")

    async def get_caller(self) -> CallerView:
        return CallerView(name=calling().name, role=calling().role)

    async def offer_login(self) -> NewCode:
        return NewCode(code="code", seconds=300.0)

    async def log_in(self, body: LoginCode) -> Session:
        if body.code != "code":
            raise UnauthorizedError("this login code is not known", field="code")
        return Session(token=f"pytq_{'y' * 43}", name="local", role=Role.ADMIN, seconds=60.0)
