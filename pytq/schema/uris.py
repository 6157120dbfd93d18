"""URIs of inputs, resources and outputs: parsed here, never fetched here.

Grammar: `scheme[@option…]://rest[|action…]`. A rest that ends in `/` is a folder.
`run+fastq/ACCESSION/`, as the first PYTQ wrote it, is read as `run+fastq://ACCESSION/`.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

SCHEMES: Final = frozenset({"file", "s3", "ftp", "http", "https", "run+fastq"})
WRITABLE: Final = frozenset({"file", "s3", "ftp"})
ACTIONS: Final = ("gunzip", "untar", "unzip", "mv:FOLDER")

_SHAPE: Final = re.compile(
    r"^(?P<scheme>[a-z][a-z0-9+]*)(?P<options>(?:@[a-z0-9_]+)*)://(?P<rest>[^|]+)"
    r"(?P<actions>(?:\|[^|]+)*)$"
)
_LENIENT_RUN: Final = re.compile(r"^run\+fastq((?:@[a-z0-9_]+)*)/(?!/)(.+)$")
_ACCESSION: Final = re.compile(r"^[SED]RR[0-9]{6,}$")
_BUCKET: Final = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_HOST: Final = re.compile(r"^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$")
_PART: Final = r"[A-Za-z0-9_+@=,-][A-Za-z0-9_.+@=,-]*"
_FOLDER: Final = re.compile(rf"^{_PART}(?:/{_PART})*$")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")


class UriError(ValueError):
    """A URI that PYTQ cannot use; its text says why and what to write instead."""


@dataclass(frozen=True, slots=True)
class Uri:
    """One parsed URI."""

    scheme: str
    options: tuple[str, ...]
    host: str  # bucket, host or accession; empty for file
    path: str  # without a leading slash for s3, with one for file, ftp and http
    actions: tuple[str, ...]

    @property
    def is_folder(self) -> bool:
        """Whether it names everything below a prefix rather than one file."""
        return self.scheme == "run+fastq" or self.path.endswith("/") or not self.path.strip("/")

    @property
    def basename(self) -> str:
        """The file's own name; empty for a folder."""
        return "" if self.is_folder else self.path.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        options = "".join(f"@{option}" for option in self.options)
        actions = "".join(f"|{action}" for action in self.actions)
        return f"{self.scheme}{options}://{self.host}{self._joint}{self.path}{actions}"

    @property
    def _joint(self) -> str:
        return "/" if self.scheme == "s3" else ""


def parse(text: str) -> Uri:
    """Read one URI; raise `UriError` with a cure when it cannot be used."""
    lenient = _LENIENT_RUN.match(text)
    if lenient:
        text = f"run+fastq{lenient[1]}://{lenient[2]}"
    shape = _SHAPE.match(text)
    if shape is None:
        raise UriError(f"{text!r} is not a URI: write scheme://…, one of {_schemes()}")
    scheme, rest = shape["scheme"], shape["rest"]
    if scheme not in SCHEMES:
        raise UriError(f"{text!r}: no scheme {scheme!r}; there are {_schemes()}")
    _refuse_tricks(text, rest)
    host, path = _split(scheme, rest, text)
    options = tuple(option for option in shape["options"].split("@") if option)
    actions = tuple(action.strip() for action in shape["actions"].split("|") if action.strip())
    for action in actions:
        _check_action(action, text)
    return Uri(scheme, options, host, path, actions)


def parse_list(text: str) -> list[str]:
    """Split the first PYTQ's space-separated list of URIs."""
    return text.split()


def _schemes() -> str:
    return ", ".join(sorted(SCHEMES))


def _refuse_tricks(text: str, rest: str) -> None:
    plain = unquote(rest)
    if _CONTROL.search(plain):
        raise UriError(f"{text!r}: backslashes and control characters are not allowed in a URI")
    if ".." in plain.split("/") or "." in plain.split("/"):
        raise UriError(f"{text!r}: '.' and '..' are not allowed in a URI; write the full path")


def _split(scheme: str, rest: str, text: str) -> tuple[str, str]:
    if scheme == "file":
        if not rest.startswith("/"):
            raise UriError(f"{text!r}: a file needs an absolute path: file:///folder/name")
        return "", rest
    host, slash, path = rest.partition("/")
    if scheme == "run+fastq":
        if not _ACCESSION.match(host) or path:
            raise UriError(f"{text!r}: write run+fastq://ACCESSION/, as in run+fastq://SRR890934/")
        return host, slash
    if "@" in host:
        raise UriError(f"{text!r}: no passwords in URIs; put credentials on the worker")
    if scheme == "s3":
        if not _BUCKET.match(host):
            raise UriError(f"{text!r}: {host!r} is no bucket name; write s3://bucket/path")
        return host, path
    if not _HOST.match(host):
        raise UriError(f"{text!r}: {host!r} is no host name; write {scheme}://host/path")
    return host, slash + path


def _check_action(action: str, text: str) -> None:
    if action in ("gunzip", "untar", "unzip"):
        return
    if action.startswith("mv:") and _FOLDER.match(action[3:]):
        return
    raise UriError(f"{text!r}: no action {action!r}; there are |" + ", |".join(ACTIONS))
