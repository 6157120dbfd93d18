"""Files that pages are made of: served from installed packages, packed, and kept by browsers."""

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from aiohttp import web

from pytq.server.api.doors import needs

KEPT: Final = "public, max-age=31536000, immutable"
ASKED_AGAIN: Final = "no-cache"


def folder(package: str, name: str) -> Path:
    """A folder of an installed package."""
    return Path(str(files(package))) / name


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a page."""

    file: Path
    content_type: str
    caching: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @needs(None)
    async def serve(self, request: web.Request) -> web.Response:
        """Answer with the file, packed if the browser can unpack it."""
        response = web.Response(
            content_type=self.content_type,
            charset="utf-8" if self.content_type.startswith("text/") else None,
            headers={"Cache-Control": self.caching, "Vary": "Accept-Encoding", **self.headers},
        )
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.body = await asyncio.to_thread(_packed, self.file)
            response.headers["Content-Encoding"] = "gzip"
        else:
            response.body = _content(self.file)
        return response


@cache
def _content(file: Path) -> bytes:
    return file.read_bytes()


@cache
def _packed(file: Path) -> bytes:
    return gzip.compress(_content(file), mtime=0)
