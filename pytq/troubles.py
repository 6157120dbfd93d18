"""What a failed connection says to people: the system's own words, none of a library's."""

import errno

import aiohttp


def why(error: BaseException) -> str:
    """Why a connection failed, such as "connection refused" or "No such file or directory"."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error) or type(error).__name__
