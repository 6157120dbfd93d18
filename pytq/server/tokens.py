"""What people can ask about tokens: the store keeps them, the keyring knows who shows one."""

from typing import Final

from pytq.schema import limits
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
from pytq.schema.problems import InvalidError
from pytq.schema.views import moment
from pytq.server.dispatcher import Dispatcher, clock
from pytq.server.keyring import FOR_EVER, Caller, Keyring, actor, calling, digest, new_secret
from pytq.server.store import tokens
from pytq.server.store.tables import AnyRow

RESERVED: Final = ("local", "local-worker", "admin")
_SECOND: Final = 1_000_000  # microseconds


class Tokens:
    """Tokens, as people see them."""

    dispatcher: Dispatcher
    keyring: Keyring

    async def load_tokens(self) -> None:
        """Know the tokens that the store keeps; once, before anybody is let in."""
        for row in await self.dispatcher.db.read(tokens.every):
            self.keyring.add(row.hash, _caller(row))

    async def create_token(self, body: TokenOrder) -> NewToken:
        """Make a token; it is shown this once."""
        if body.name in RESERVED:
            raise InvalidError(
                f"{body.name!r} is what events call this server's own people",
                field="name",
                cure="choose another name",
            )
        secret, by = new_secret(), actor()
        hashed = digest(secret)
        row = await self.dispatcher.db.write(
            lambda conn: tokens.create(conn, clock(), body, hashed, by)
        )
        self.keyring.add(hashed, _caller(row))
        return NewToken(token=secret, view=_view(row, None))

    async def list_tokens(self) -> list[TokenView]:
        """List tokens, without what they are."""
        rows = await self.dispatcher.db.read(tokens.every)
        used = self.keyring.used()
        return [_view(row, used.get(row.id)) for row in rows]

    async def revoke_token(self, name: str) -> None:
        """Revoke a token, and hang up on whoever is connected with it."""
        by = actor()
        token = await self.dispatcher.db.write(lambda conn: tokens.revoke(conn, clock(), name, by))
        await self.keyring.revoke(token)

    async def get_caller(self) -> CallerView:
        """Who the server takes the caller for."""
        caller = calling()
        return CallerView(name=caller.name, role=caller.role)

    async def offer_login(self) -> NewCode:
        """A code that logs a browser in."""
        return NewCode(code=self.keyring.offer_code(calling()), seconds=limits.LOGIN_CODE_SECONDS)

    async def log_in(self, body: LoginCode) -> Session:
        """Turn a login code into a token."""
        caller = self.keyring.redeem(body.code)
        return Session(
            token=self.keyring.lend(caller),
            name=caller.name,
            role=caller.role,
            seconds=limits.SESSION_SECONDS,
        )


def _caller(row: AnyRow) -> Caller:
    until = FOR_EVER if row.expires_at is None else row.expires_at / _SECOND
    return Caller(row.name, Role(row.role), row.id, until)


def _view(row: AnyRow, used: float | None) -> TokenView:
    return TokenView(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_at=moment(row.created_at),
        created_by=row.created_by,
        expires_at=None if row.expires_at is None else moment(row.expires_at),
        used_at=None if used is None else moment(int(used * _SECOND)),
    )
