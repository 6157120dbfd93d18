"""What a client shows a server, and what it wants to see of it: a token, a certificate."""

import ssl
from typing import Literal

from pytq import credentials
from pytq.schema import address
from pytq.schema.problems import InvalidError, PytqError


class InsecureError(PytqError):
    """The server's certificate is not one to trust, or TLS is not what it speaks."""

    status = 525
    code = "insecure"


class Shown:
    """The token that a server is shown: the one given, or what is found when it is needed."""

    def __init__(self, place: address.Address, token: str | None, role: str) -> None:
        self._place = place
        self._role = role
        self._given = token is not None
        self._token = None if token is None else _checked(token)

    def headers(self) -> dict[str, str]:
        """What to send along."""
        if self._token is None:
            self._token = self._look()
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def look_again(self) -> bool:
        """Look whether there is another token by now."""
        if self._given or self._token is None:
            return False
        before, self._token = self._token, None
        return self._look() != before

    def _look(self) -> str:
        try:
            return credentials.token_for(self._place, self._role)
        except credentials.CredentialsError as error:
            raise InvalidError(str(error)) from error


def tls_for(place: address.Address) -> ssl.SSLContext | Literal[True]:
    """How aiohttp is to check a server's certificate; True, which is as usual, where it has none.

    Raises `InvalidError` if `$PYTQ_CA` cannot be used.
    """
    if not place.secure:
        return True
    try:
        return credentials.tls()
    except credentials.CredentialsError as error:
        raise InvalidError(str(error)) from error


def _checked(token: str) -> str:
    try:
        return credentials.checked(token.strip(), "the token")
    except credentials.CredentialsError as error:
        raise InvalidError(str(error)) from error
