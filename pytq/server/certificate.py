"""The server's certificate: read, checked before it is used, and read again when it changes."""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

from pytq.schema.problems import InvalidError

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0


class Certificate:
    """A certificate and its key, in files that somebody else renews."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self.context = self._load()
        self._seen = self._stamp()

    def renew(self) -> None:
        """Use what is in the files now for new connections; keep the old if it is no good."""
        self._seen = self._stamp()
        try:
            self._load()
        except InvalidError as error:
            log.error("still using the old certificate: %s", error)  # noqa: TRY400 - it tells all
            return
        self.context.load_cert_chain(self._cert, self._key)
        log.info("using the certificate that is in %s now", self._cert)

    async def watch(self) -> None:
        """Renew when the files change, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._stamp() != self._seen:
                self.renew()

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        for field, path in (("tls_cert", self._cert), ("tls_key", self._key)):
            if not path.is_file():
                raise InvalidError(f"there is no file {path}", field=field)
        try:
            # Asked for a passphrase, OpenSSL would wait at the terminal.
            context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise InvalidError(
                f"{self._cert} and {self._key} cannot be used: {error}",
                field="tls_cert",
                cure="give a PEM certificate (with its chain) and its key, without a passphrase",
            ) from error
        return context

    def _stamp(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._cert, self._key))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_ino
