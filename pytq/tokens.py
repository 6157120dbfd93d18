"""What the sync library offers about tokens: a part of `pytq.lib.Server`."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from pytq.arguments import model_of
from pytq.client import Client
from pytq.schema.access import CallerView, NewToken, TokenOrder, TokenView

T = TypeVar("T")


class Tokens:
    """Tokens, in plain calls.

    They wait for a server that is down; nothing is kept and sent later: whoever makes or revokes
    a token wants to know that it is done.
    """

    @property
    def _client(self) -> Client:
        raise NotImplementedError

    def _read(self, work: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def caller(self) -> CallerView:
        """Who the server takes us for: a name and a role."""
        return self._read(self._client.get_caller())

    def tokens(self) -> list[TokenView]:
        """Every token that was not revoked; not what they are."""
        return self._read(self._client.list_tokens())

    def token_create(self, name: str, **wish: Any) -> NewToken:
        """Make a token: `role` (submitter if left out), `expires_in` seconds. Shown this once."""
        return self._read(self._client.create_token(model_of(TokenOrder, {"name": name, **wish})))

    def token_revoke(self, name: str) -> None:
        """Revoke a token; whoever is connected with it is cut off."""
        self._read(self._client.revoke_token(name))
