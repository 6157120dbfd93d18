"""Opening the server's doors: bind, leave the local tokens, read the certificate, listen."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from aiohttp import web

from pytq import credentials
from pytq.schema import limits
from pytq.schema.access import Role
from pytq.schema.problems import InvalidError
from pytq.server import listening
from pytq.server.api import HTTP
from pytq.server.certificate import Certificate
from pytq.server.keyring import Caller, Keyring, digest
from pytq.server.pickup import left_for_pickup
from pytq.server.settings import ServerSettings
from pytq.server.whereabouts import WHEREABOUTS

log = logging.getLogger(__name__)

_SHUTDOWN_SECONDS: Final = 5.0
_HOW: Final = {**HTTP, "access_log": None, "keepalive_timeout": limits.IDLE_SECONDS}


@contextlib.asynccontextmanager
async def open_to_callers(
    app: web.Application, settings: ServerSettings, keyring: Keyring
) -> AsyncIterator[None]:
    """Listen for as long as the block lasts."""
    certificate = certificate_of(settings)
    sockets = listening.bind(settings.host, settings.port)
    port = sockets[0].getsockname()[1]
    app[WHEREABOUTS].found(settings, port)
    tokens = {
        credentials.ADMIN: keyring.hand_out("local", Role.ADMIN),
        credentials.WORKER: keyring.hand_out("local-worker", Role.WORKER),
    }
    if settings.admin_token_file is not None:
        keyring.add(digest(_given(settings.admin_token_file)), Caller("admin", Role.ADMIN))
    runner = web.AppRunner(app, **_HOW, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    tls = None if certificate is None else certificate.context
    most = settings.connections_per_address
    listeners = [listening.Listener(runner, each, tls, _HOW, most) for each in sockets]
    # The tokens lie ready before the first one can knock.
    with left_for_pickup(settings.data_dir, settings.host, port, tokens), _renewing(certificate):
        try:
            for listener in listeners:
                await listener.start()
            _announce(settings, [each.name for each in listeners])
            yield
        finally:
            await runner.cleanup()


def certificate_of(settings: ServerSettings) -> Certificate | None:
    """The certificate that the settings name; None for plain HTTP."""
    cert, key = settings.tls_cert, settings.tls_key
    if (cert is None) != (key is None):
        missing = "tls_cert" if cert is None else "tls_key"
        raise InvalidError(
            "a certificate and its key go together",
            field=missing,
            cure=f"give --{missing.replace('_', '-')} FILE too",
        )
    return None if cert is None or key is None else Certificate(cert, key)


def _given(file: Path) -> str:
    """A token that somebody else made up."""
    try:
        token = credentials.checked(file.read_text(encoding="utf-8").strip(), str(file))
    except (OSError, UnicodeDecodeError, credentials.CredentialsError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidError(f"no token in {file}: {why}", field="admin_token_file") from error
    if len(token) < limits.GIVEN_TOKEN_CHARS:
        raise InvalidError(
            f"the token in {file} has fewer than {limits.GIVEN_TOKEN_CHARS} characters",
            field="admin_token_file",
            cure="make one with: openssl rand -base64 33",
        )
    return token


@contextlib.contextmanager
def _renewing(certificate: Certificate | None) -> Iterator[None]:
    """Read the certificate again when it changes, and on SIGHUP."""
    if certificate is None:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, certificate.renew)
    watching = asyncio.create_task(certificate.watch(), name="certificate")
    try:
        yield
    finally:
        watching.cancel()
        loop.remove_signal_handler(signal.SIGHUP)


def _announce(settings: ServerSettings, urls: list[str]) -> None:
    if settings.insecure:
        log.warning(
            "INSECURE: without tokens, everybody who can connect may run commands on the workers%s",
            "" if settings.is_loopback else f" - and {settings.host} is open to the network",
        )
    if settings.tls_cert is None and not settings.is_loopback:
        log.warning(
            "NO TLS: whoever listens on the network between here and your machines can read"
            " tokens and tasks; give --tls-cert and --tls-key, or put a TLS proxy in front"
        )
    log.info("PYTQ server is ready on %s", " and ".join(urls))
