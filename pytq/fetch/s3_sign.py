"""The signature of a request to S3 (AWS Signature Version 4).

botocore's own takes longer than all else that is done for a small object; a test compares the two.
"""

import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final, Protocol

ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Keys(Protocol):
    """Credentials as they are at the moment: botocore calls them frozen."""

    @property
    def access_key(self) -> str:
        """Who asks."""

    @property
    def secret_key(self) -> str:
        """What only they know."""

    @property
    def token(self) -> str | None:
        """What keys that expire come with."""


class Signer:
    """Signs for one region."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._made_of: tuple[str, str] | None = None
        self._key = b""

    def sign(
        self,
        keys: Keys,
        method: str,
        target: str,
        headers: Mapping[str, str],
        digest: str,
        now: datetime,
    ) -> dict[str, str]:
        """The headers to send: those given, which are signed too, and what proves who asks.

        `target`: path and query, quoted. `headers` have a Host. `digest`: the
        SHA-256 of the body, or that it is not signed. `now` is in UTC.
        """
        time = f"{now:%Y%m%dT%H%M%SZ}"
        scope = f"{time[:8]}/{self._region}/s3/aws4_request"
        sent = {**headers, "X-Amz-Date": time, "X-Amz-Content-SHA256": digest}
        if keys.token:
            sent["X-Amz-Security-Token"] = keys.token
        lines = sorted((name.lower(), " ".join(value.split())) for name, value in sent.items())
        names = ";".join(name for name, _ in lines)
        path, _, query = target.partition("?")
        query = "&".join(sorted(query.split("&")))
        fields = [f"{name}:{value}" for name, value in lines]
        canonical = "\n".join([method, path, query, *fields, "", names, digest])
        text = f"{ALGORITHM}\n{time}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        proof = _mac(self._key_of(keys.secret_key, time[:8]), text).hex()
        who = f"Credential={keys.access_key}/{scope}"
        sent["Authorization"] = f"{ALGORITHM} {who}, SignedHeaders={names}, Signature={proof}"
        return sent

    def _key_of(self, secret: str, day: str) -> bytes:
        """The key of a day, which is made once."""
        if self._made_of != (secret, day):
            key = f"AWS4{secret}".encode()
            for word in (day, self._region, "s3", "aws4_request"):
                key = _mac(key, word)
            self._made_of, self._key = (secret, day), key
        return self._key


def _mac(key: bytes, text: str) -> bytes:
    # Not hmac.digest: that lets go of the interpreter, and may wait long to have it again.
    return hmac.new(key, text.encode(), sha256).digest()
