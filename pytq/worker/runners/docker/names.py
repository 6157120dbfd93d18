"""What an image is called: `alpine` is short for `docker.io/library/alpine:latest`. Pure."""

from typing import Final

HUB: Final = "docker.io"
OFFICIAL: Final = "library/"
SCHEME: Final = "docker://"


def registry(image: str) -> str:
    """The host, with its port, that an image comes from."""
    host, slash, _ = image.partition("/")
    is_host = slash and ("." in host or ":" in host or host == "localhost" or host != host.lower())
    return host if is_host else HUB


def full(image: str) -> str:
    """The name with nothing left out, as registries know it."""
    host = registry(image)
    path = image.removeprefix(f"{host}/")
    if host == HUB and "/" not in path:
        path = OFFICIAL + path
    if "@" not in path and ":" not in path:
        path += ":latest"
    return f"{host}/{path}"


def familiar(image: str) -> str:
    """The shortest name that is still exact, as dockerd lists it: `alpine:latest`."""
    return full(image).removeprefix(f"{HUB}/").removeprefix(OFFICIAL)


def of_uri(uri: str) -> str:
    """The image that a URI of ours stands for, `docker://` or not."""
    return familiar(uri.removeprefix(SCHEME))


def uri_of(image: str) -> str:
    """An image as a URI, so that it can stand beside inputs and resources."""
    return SCHEME + familiar(image)
