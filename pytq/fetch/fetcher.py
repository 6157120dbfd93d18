"""The `Fetcher`: one door to every scheme, with the bounds and retries they share."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Self
from urllib.parse import quote

from pytq.fetch import folders, retry
from pytq.fetch.bounds import Bounds
from pytq.fetch.engine import Bringer, Engine, Item, Store, Wanted
from pytq.fetch.errors import FetchError, FetchFailure, local_error
from pytq.fetch.file import EXACT, FileEngine
from pytq.fetch.options import FetchOptions
from pytq.fetch.parts import inside
from pytq.fetch.threads import Threads
from pytq.fetch.transfer import Entry, Meter, Progress
from pytq.fetch.web import Web
from pytq.schema import uris
from pytq.schema.uris import Uri, UriError

Stamp = tuple[int, int, int]  # what changes when a file is written to: size, time, identity


class Fetcher:
    """Moves files between this machine and URIs, within one event loop.

    It owns sessions, threads and bounds: make one per process, and `close` it. A URI's actions
    (`|gunzip` …) are the caller's business. Everything fails with `FetchError`. A cancelled call
    leaves nothing running and nothing half at its final name.
    """

    def __init__(self, options: FetchOptions | None = None) -> None:
        self.options = options or FetchOptions()
        self._threads = Threads(self.options.stall)
        self._bounds = Bounds(self.options)
        self._web = Web(self.options, self._bounds)
        self._engines: dict[str, Engine] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(
        self,
        uri: str | Uri,
        place: Path,
        *,
        directory: bool = False,
        size: int | None = None,
        checksum: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Bring a file to `place`, or all below a folder (`directory`) to below `place`.

        `size` and `checksum` (`md5:…`, `sha256:…`) are what the file must have.
        """
        source = parsed(uri)
        progress = progress or Progress()
        if directory:
            await self._get_folder(as_folder(source), place, progress)
        elif source.is_folder:
            reason = "is a folder; ask for it as one (directory), or name a file in it"
            raise FetchError(uri, reason, FetchFailure.UNSUPPORTED)
        else:
            await self._get_file(source, place, Wanted(size, checksum), Meter(progress))

    async def put(
        self,
        place: Path,
        uri: str | Uri,
        *,
        directory: bool = False,
        tag: str = "",
        progress: Progress | None = None,
    ) -> None:
        """Take a file to `uri`, or all below a folder to below it; back when it is safe there.

        `tag` keeps this try's temporary files apart from another's: an execution's `12.1`. A file
        put to a URI that ends in `/` keeps its name.
        """
        target = parsed(uri)
        progress = progress or Progress()
        tag = tag or str(os.getpid())
        if directory:
            await self._put_folder(place, as_folder(target), tag, progress)
            return
        if target.is_folder:
            target = below(target, place.name)
        await self._put_file(place, target, tag, Meter(progress))

    async def list(self, uri: str | Uri) -> AsyncIterator[Entry]:
        """Tell of every file below a folder, or of the one file."""
        async for item in self.walk(uri):
            yield item.entry

    async def walk(self, uri: str | Uri) -> AsyncIterator[Item]:
        """The same, with each file's URI ready to be used, whatever characters are in it."""
        source = parsed(uri)
        async for item in self._engine(source).walk(source):
            yield item

    async def remove(self, uri: str | Uri) -> int:
        """Remove a file, or every file below a folder; tells how many there were."""
        source = parsed(uri)
        engine = self._store(source)
        if not source.is_folder:
            await retry.persist(lambda: engine.remove(source), self.options)
            return 1
        count = 0

        async def one(item: Item) -> None:
            nonlocal count
            await retry.persist(lambda: engine.remove(item.uri), self.options)
            count += 1

        await folders.each(engine.walk(source), one, self.options.concurrency)
        return count

    async def close(self) -> None:
        """Let go of connections and threads."""
        engines, self._engines = self._engines, {}
        try:
            for engine in engines.values():
                await engine.close()
            await self._web.close()
        finally:
            self._threads.close()

    async def _get_file(self, uri: Uri, place: Path, wanted: Wanted, meter: Meter) -> None:
        engine = self._engine(uri)

        async def attempt() -> None:
            nonlocal wanted
            try:
                await engine.get(uri, place, wanted, meter)
            except FetchError:
                wanted = replace(wanted, listed=None)  # it may be another file by now
                raise

        await retry.persist(attempt, self.options, meter)

    async def _get_folder(self, uri: Uri, place: Path, progress: Progress) -> None:
        engine = self._engine(uri)
        if isinstance(engine, Bringer):
            await engine.bring(uri, place, progress)
            return

        async def planned() -> AsyncIterator[tuple[Item, Path, Meter]]:
            async for item in engine.walk(uri):
                meter = Meter(progress)
                meter.expect(item.entry.size or 0)
                yield item, inside(uri, place, item.entry.name), meter

        async def one(plan: tuple[Item, Path, Meter]) -> None:
            item, target, meter = plan
            await self._get_file(item.uri, target, item.wanted, meter)

        await folders.each(planned(), one, self.options.concurrency)
        await self._threads.run(lambda: place.mkdir(parents=True, exist_ok=True))

    async def _put_file(
        self, place: Path, uri: Uri, tag: str, meter: Meter, known: Stamp | None = None
    ) -> None:
        engine = self._store(uri)

        async def attempt() -> None:
            nonlocal known
            before = known
            if before is None:
                before = await self._threads.run(lambda: _stamp(uri, place))
            known = None
            meter.back_to(0)
            meter.expect(before[0])
            await engine.put(place, uri, tag, meter)
            if before != await self._threads.run(lambda: _stamp(uri, place)):
                reason = f"{place} changed while it was sent; nothing may write to it any more"
                raise FetchError(uri, reason, FetchFailure.CHANGED)

        await retry.persist(attempt, self.options)

    async def _put_folder(self, place: Path, uri: Uri, tag: str, progress: Progress) -> None:
        async with self._store(uri).folder(uri, tag) as target:

            async def planned() -> AsyncIterator[tuple[Path, str, Stamp, Meter]]:
                found = folders.regular_files(place)
                while batch := await self._threads.run(lambda: _batch(uri, found)):
                    for path, name, stamp in batch:
                        meter = Meter(progress)
                        meter.expect(stamp[0])
                        yield path, name, stamp, meter

            async def one(plan: tuple[Path, str, Stamp, Meter]) -> None:
                path, name, stamp, meter = plan
                await self._put_file(path, below(target, name), tag, meter, stamp)

            await folders.each(planned(), one, self.options.concurrency)

    def _engine(self, uri: Uri) -> Engine:
        if uri.scheme not in self._engines:
            self._engines[uri.scheme] = self._make(uri.scheme)
        return self._engines[uri.scheme]

    def _store(self, uri: Uri) -> Store:
        engine = self._engine(uri)
        if isinstance(engine, Store):
            return engine
        writable = ", ".join(sorted(uris.WRITABLE))
        reason = f"nothing can be written or removed through {uri.scheme}://; use {writable}"
        raise FetchError(uri, reason, FetchFailure.UNSUPPORTED)

    def _make(self, scheme: str) -> Engine:
        """Make an engine when it is first needed: some take long to import."""
        if scheme == "s3":
            from pytq.fetch.s3 import S3Engine

            return S3Engine(self._web, self._threads)
        if scheme in ("http", "https"):
            from pytq.fetch.http import HttpEngine

            return HttpEngine(self._web, self._threads)
        if scheme == "ftp":
            from pytq.fetch.ftp import FtpEngine

            return FtpEngine(self.options, self._bounds, self._threads)
        if scheme == "run+fastq":
            from pytq.fetch.ena import EnaEngine

            return EnaEngine(self._web, self._threads, self._get_file)
        return FileEngine(self.options.file_roots, self._threads)


def parsed(uri: str | Uri) -> Uri:
    """A URI, read. Raises FetchError (unsupported) for what is none."""
    if isinstance(uri, Uri):
        return uri
    try:
        return uris.parse(uri)
    except UriError as error:
        reason = str(error).removeprefix(f"{uri!r}: ").removeprefix(f"{uri!r} ")
        raise FetchError(uri, reason, FetchFailure.UNSUPPORTED) from error


def as_folder(uri: Uri) -> Uri:
    """The folder of that name."""
    return uri if uri.is_folder else replace(uri, path=f"{uri.path}/")


def below(folder: Uri, name: str) -> Uri:
    """The URI of a file in a folder, the name quoted as its scheme wants it."""
    if folder.scheme == "ftp":
        name = quote(name, errors="surrogateescape")
    elif folder.scheme == "file" and EXACT not in folder.options:
        name = name.replace("%", "%25")
    return replace(folder, path=f"{folder.path}{name}", actions=())


def _stamp(uri: Uri, place: Path) -> Stamp:
    try:
        facts = place.lstat()
    except OSError as error:
        raise local_error(uri, error) from error
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def _batch(uri: Uri, found: Iterator[tuple[Path, str]]) -> list[tuple[Path, str, Stamp]]:
    try:
        return [(path, name, _stamp(uri, path)) for path, name in islice(found, 1_000)]
    except OSError as error:
        raise local_error(uri, error) from error
