"""The signature of a request to S3."""

import string
from datetime import UTC, datetime
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given, settings
from hypothesis import strategies as some
from yarl import URL

from pytq.fetch.s3_sign import Signer

NAMES = some.text(string.ascii_letters + string.digits + "/._-~ +%&=é世", min_size=1, max_size=40)
WORDS = some.text(string.ascii_letters + string.digits + "/+=", min_size=1, max_size=20)
BASES = some.sampled_from(
    [
        "http://127.0.0.1:7480/data/",
        "https://s3.example.org/data/",
        "https://data.s3.eu-west-1.amazonaws.com:443/",
        "http://[::1]:80/data/",
    ]
)


class Botocore(S3SigV4Auth):
    """botocore's signer, over a digest that is given."""

    digest = ""

    def payload(self, request: AWSRequest) -> str:
        """The digest."""
        del request
        return self.digest


@settings(deadline=None)
@given(
    base=BASES,
    key=NAMES,
    secret=WORDS,
    token=some.none() | WORDS,
    upload=some.none() | NAMES,
    md5=some.none() | WORDS,
    digest=some.sampled_from(["UNSIGNED-PAYLOAD", "ab" * 32]),
    method=some.sampled_from(["GET", "PUT"]),
)
def test_a_signature_is_botocores(
    base: str,
    key: str,
    secret: str,
    token: str | None,
    upload: str | None,
    md5: str | None,
    digest: str,
    method: str,
) -> None:
    """Whatever is signed, botocore signs it in the same way."""
    keys = ReadOnlyCredentials("me", secret, token)
    query = "" if upload is None else f"?partNumber=7&uploadId={quote(upload, safe='')}"
    url = f"{base}{quote(key, safe='/~')}{query}"
    headers = {} if md5 is None else {"Content-MD5": md5}
    theirs = AWSRequest(method, url, headers=headers)
    signer = Botocore(keys, "s3", "eu-west-1")
    signer.digest = digest
    signer.add_auth(theirs)
    at = datetime.strptime(theirs.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    known = URL(url, encoded=True)
    headers["Host"] = known.host_port_subcomponent or ""
    ours = Signer("eu-west-1").sign(keys, method, known.raw_path_qs, headers, digest, at)

    assert dict(theirs.headers.items()).items() <= ours.items()


def test_a_signer_follows_its_keys() -> None:
    """New credentials and a new day are signed with a new key."""
    signer = Signer("us-east-1")

    def proof(secret: str, day: int) -> str:
        keys = ReadOnlyCredentials("me", secret, None)
        at = datetime(2026, 11, day, tzinfo=UTC)
        return signer.sign(keys, "GET", "/data/a", {}, "UNSIGNED-PAYLOAD", at)["Authorization"][
            -64:
        ]

    said = [proof("one", 1), proof("two", 1), proof("two", 2), proof("one", 1)]

    assert said[0] == said[3]
    assert len(set(said)) == 3
