"""How to log in to a registry: what `docker login` left on this machine.

aiodocker reads none of it. Secrets go from here into the one request to dockerd and nowhere else.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

from pytq.worker.runners.docker.names import HUB

HUB_KEY: Final = "https://index.docker.io/v1/"  # Docker Hub, as config.json writes it
HUB_HOSTS: Final = frozenset({"index.docker.io", "registry-1.docker.io", HUB})
HELPER_SECONDS: Final = 15.0
TOKEN_USER: Final = "<token>"  # noqa: S105 - a helper's way to say that the secret is a token

Login = dict[str, str]


class CredentialsError(Exception):
    """Why the credentials of a registry cannot be read; the text says where."""


class Credentials:
    """The logins of `config.json`, read anew each time: a later `docker login` is heard at once."""

    def __init__(self, folder: Path | None = None) -> None:
        given = os.environ.get("DOCKER_CONFIG")
        self.path = (folder or (Path(given) if given else Path.home() / ".docker")) / "config.json"

    async def of(self, registry: str) -> Login | None:
        """What to log in to a registry with; None when nothing is known."""
        config = self._read()
        key = HUB_KEY if registry == HUB else registry
        helpers = config.get("credHelpers") or {}
        helper = helpers.get(registry) or helpers.get(key) or config.get("credsStore")
        if helper:
            login = await self._ask(str(helper), key)
            if login is not None:
                return login
        for name, entry in (config.get("auths") or {}).items():
            if host_of(name) == registry and isinstance(entry, dict):
                return self._login(entry, key)
        return None

    def _read(self) -> dict[str, Any]:
        try:
            config = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise CredentialsError(f"{self.path} cannot be read: {error}") from error
        return config if isinstance(config, dict) else {}

    def _login(self, entry: dict[str, Any], key: str) -> Login | None:
        if entry.get("identitytoken"):
            return {"identitytoken": str(entry["identitytoken"]), "serveraddress": key}
        user, password = entry.get("username"), entry.get("password")
        if entry.get("auth"):
            try:
                text = base64.b64decode(entry["auth"]).decode()
            except (binascii.Error, ValueError) as error:
                raise CredentialsError(f"{self.path}: the `auth` of {key} is damaged") from error
            user, _, password = text.partition(":")
        if not user:
            return None
        return {
            "username": str(user),
            "password": str(password or "").rstrip("\0"),
            "serveraddress": key,
        }

    async def _ask(self, helper: str, key: str) -> Login | None:
        """Ask a helper program, which keeps passwords in a keyring; None when it knows nothing."""
        program = f"docker-credential-{helper}"
        try:
            process = await asyncio.create_subprocess_exec(
                *(program, "get"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise CredentialsError(f"{self.path} names {program}: {error.strerror}") from error
        try:
            async with asyncio.timeout(HELPER_SECONDS):
                said, _ = await process.communicate(key.encode())
        except TimeoutError as error:
            raise CredentialsError(
                f"{program} did not answer within {HELPER_SECONDS:g} s"
            ) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            return None  # "credentials not found", most of the time
        try:
            found = json.loads(said)
            user, secret = str(found["Username"]), str(found["Secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise CredentialsError(f"{program} said something unreadable") from error
        if user == TOKEN_USER:
            return {"identitytoken": secret, "serveraddress": key}
        return {"username": user, "password": secret, "serveraddress": key}


def host_of(key: str) -> str:
    """The registry that a key of `auths` means, which may be written as a URL."""
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if host in HUB_HOSTS else host
