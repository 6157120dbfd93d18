"""Who is calling: every secret that is good now, in memory, by its hash.

The store keeps tokens for good; here they are found, at each request, without a query. Two kinds
never reach the store: what is left on this machine for its user, which lives as long as the
server, and what is lent for a while to a browser or to a process of ours.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from weakref import WeakSet

from pytq.schema import access, limits
from pytq.schema.access import Role
from pytq.schema.problems import TooManyError, UnauthorizedError
from pytq.server.allowance import Allowance

log = logging.getLogger(__name__)

FOR_EVER: Final = float("inf")
POLICY: Final = 1008  # WebSocket's word for: you may not
_SWEEP_SECONDS: Final = 10.0
_ADDRESSES: Final = 10_000  # of wrong tokens, that are remembered
_CODES: Final = 1_000


class Closable(Protocol):
    """A WebSocket, as far as we care."""

    async def close(self, *, code: int = ..., message: bytes = ...) -> Any:
        """Hang up."""


def _requests(rate: float) -> Allowance:
    return Allowance(rate, rate * limits.BURST_SECONDS)


@dataclass(slots=True, eq=False)
class Caller:
    """Somebody with a token. One object for each token, however many secrets lead to it."""

    name: str
    role: Role
    id: int | None = None  # of the token in the store
    until: float = FOR_EVER  # seconds since 1970
    used: float | None = None
    sockets: WeakSet[Closable] = field(default_factory=WeakSet)
    allowance: Allowance = field(default_factory=lambda: _requests(limits.REQUESTS_PER_SECOND))


LOCAL: Final = Caller("local", Role.ADMIN)
_calling: ContextVar[Caller] = ContextVar("calling", default=LOCAL)


def calling() -> Caller:
    """Who is behind what is done now: set for each request; `LOCAL` outside of requests."""
    return _calling.get()


def actor() -> str:
    """The caller's name, for events. Ask before a verb is queued: verbs run elsewhere."""
    return _calling.get().name


def is_calling(caller: Caller) -> None:
    """Say who is behind what this task of asyncio does from here on."""
    _calling.set(caller)


def new_secret() -> str:
    """A token that nobody guesses."""
    return access.PREFIX + secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    """What is kept of a secret. With 256 random bits in it, a plain hash gives nothing away."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()


@dataclass(slots=True, frozen=True)
class _Key:
    hash: bytes
    caller: Caller
    until: float = FOR_EVER

    def is_good(self, now: float) -> bool:
        return now < self.until and now < self.caller.until


class Keyring:
    """The secrets that are good now, and whose they are."""

    def __init__(self, rate: float = limits.REQUESTS_PER_SECOND) -> None:
        self._rate = rate
        self._keys: dict[bytes, _Key] = {}
        self._codes: dict[bytes, _Key] = {}
        self._failures: dict[str, Allowance] = {}

    # --- who is it

    def admit(self, secret: str, address: str) -> Caller:
        """Whose secret this is. Raises `UnauthorizedError`, and `TooManyError` with a pause."""
        now = time.time()
        caller = _find(self._keys, digest(secret), now)
        if caller is None:
            self._slow_down(address)
            raise UnauthorizedError(
                "this token is not known here: revoked, expired, or another server's",
                cure="an admin of this server makes a new one with `pytq token create NAME`",
            )
        caller.used = now
        if not caller.allowance.spend():
            raise TooManyError(
                f"more than {caller.allowance.rate:g} requests a second by one token",
                cure="send many tasks in one request, and wait for them with /tasks/wait",
                retry_after=1.0,
            )
        return caller

    def _slow_down(self, address: str) -> None:
        """Bound how often an address may be wrong; what is right is let in from there anyway."""
        if len(self._failures) >= _ADDRESSES:
            self._failures.clear()
        most = limits.WRONG_TOKENS_PER_MINUTE
        allowance = self._failures.setdefault(address, Allowance(most / 60.0, most))
        if not allowance.spend():
            raise TooManyError(
                "too many wrong tokens from your address",
                cure="check PYTQ_TOKEN; the right one is let in at any time",
                retry_after=60.0 / most,
            )
        log.warning("a wrong token was shown from %s", address)

    # --- adding

    def add(self, secret_hash: bytes, caller: Caller) -> None:
        """A token of the store."""
        caller.allowance = _requests(self._rate)
        self._keys[secret_hash] = _Key(secret_hash, caller)

    def hand_out(self, name: str, role: Role) -> str:
        """A token that lives as long as this process and is in no store."""
        secret = new_secret()
        self.add(digest(secret), Caller(name, role))
        return secret

    def lend(self, caller: Caller, seconds: float = limits.SESSION_SECONDS) -> str:
        """Another secret with the rights of a caller, for a while."""
        secret = new_secret()
        self._keep(self._keys, secret, caller, seconds)
        return secret

    def take_back(self, secret: str) -> None:
        """What was lent is good no more."""
        self._keys.pop(digest(secret), None)

    def offer_code(self, caller: Caller) -> str:
        """A code that is good once, soon."""
        if len(self._codes) >= _CODES:
            self._sweep()
        if len(self._codes) >= _CODES:
            raise TooManyError("too many login codes wait to be used", retry_after=60.0)
        code = secrets.token_urlsafe(24)
        self._keep(self._codes, code, caller, limits.LOGIN_CODE_SECONDS)
        return code

    def redeem(self, code: str) -> Caller:
        """Who made a code; it is used up by that."""
        hashed = digest(code)
        caller = _find(self._codes, hashed, time.time())
        self._codes.pop(hashed, None)
        if caller is None:
            self._slow_down("a browser")
            raise UnauthorizedError(
                "this login code is not known: they are good once, for a few minutes",
                field="code",
                cure="make another with `pytq token open`",
            )
        return caller

    def _keep(self, among: dict[bytes, _Key], secret: str, caller: Caller, seconds: float) -> None:
        hashed = digest(secret)
        among[hashed] = _Key(hashed, caller, time.time() + seconds)

    # --- removing

    async def revoke(self, token: int) -> None:
        """A token of the store is good no more, nor is what was lent for it; hang up on it."""
        gone = {key.caller for key in self._keys.values() if key.caller.id == token}
        self._drop(lambda key: key.caller in gone)
        await _hang_up(gone, b"the token was revoked")

    async def run(self) -> None:
        """Drop what has expired, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self.tidy()

    async def tidy(self) -> None:
        """Drop what has expired, and hang up on it."""
        await _hang_up(self._sweep(), b"the token has expired")

    def _sweep(self) -> set[Caller]:
        now = time.time()
        over = {key.caller for key in self._keys.values() if now >= key.caller.until}
        self._drop(lambda key: not key.is_good(now))
        for address in [each for each, allowance in self._failures.items() if allowance.is_full]:
            del self._failures[address]
        return over

    def _drop(self, is_doomed: Any) -> None:
        for among in (self._keys, self._codes):
            for hashed in [each for each, key in among.items() if is_doomed(key)]:
                del among[hashed]

    # --- looking

    def used(self) -> dict[int, float]:
        """When each token of the store was last used since the start: seconds since 1970."""
        callers = (key.caller for key in self._keys.values())
        return {each.id: each.used for each in callers if each.id is not None and each.used}


def _find(among: dict[bytes, _Key], hashed: bytes, now: float) -> Caller | None:
    key = among.get(hashed)
    if key is None or not hmac.compare_digest(key.hash, hashed) or not key.is_good(now):
        return None
    return key.caller


async def _hang_up(callers: Iterable[Caller], why: bytes) -> None:
    sockets = [socket for caller in callers for socket in caller.sockets]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.GOODBYE_SECONDS):
            await asyncio.gather(
                *(socket.close(code=POLICY, message=why) for socket in sockets),
                return_exceptions=True,
            )
