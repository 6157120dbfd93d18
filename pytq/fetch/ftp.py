"""FTP: anonymous, or as this machine's ~/.netrc says for the host. Passive mode, as behind NAT.

Files resume where they were cut off, as long as size and time on the server are the same. An upload
arrives under a temporary name and is renamed when its size is right.
"""

import asyncio
import contextlib
import netrc
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

import aioftp
from aioftp.errors import AIOFTPException, StatusCodeError

from pytq.fetch.bounds import Bounds
from pytq.fetch.engine import Item, Wanted
from pytq.fetch.errors import FetchError, FetchFailure, local_error
from pytq.fetch.options import FetchOptions
from pytq.fetch.parts import stretch
from pytq.fetch.ranged import Answer, Download
from pytq.fetch.threads import Threads, surely
from pytq.fetch.transfer import Entry, Meter
from pytq.fetch.verify import check_size
from pytq.schema.uris import Uri

PORT: Final = 21
PER_HOST: Final = 4  # most servers refuse more connections from one address
PIECE: Final = 256 * 1024
CLEANING_SECONDS: Final = 10.0
SAID_CHARS: Final = 200  # of a server's own words

_LISTED_AS: Final = "%Y%m%d%H%M%S"
_UNKNOWN_COMMAND: Final = ("500", "501", "502", "504")


class FtpEngine:
    """Moves files of FTP servers."""

    def __init__(self, options: FetchOptions, bounds: Bounds, threads: Threads) -> None:
        self._threads = threads
        self._pool = _Pool(options, bounds)
        self._folders: set[tuple[str, PurePosixPath]] = set()  # that are known to be there

    async def get(self, uri: Uri, place: Path, wanted: Wanted, meter: Meter) -> None:
        """Bring one file."""
        source = _FtpSource(self._pool, uri)
        await Download(uri, source, place, wanted, meter, self._threads).run()

    async def put(self, place: Path, uri: Uri, tag: str, meter: Meter) -> None:
        """Take one file there."""
        path = _path(uri)
        part = path.with_name(f"{path.name}.pytq-{tag}.part")
        try:
            async with self._pool.client(uri) as client:
                await self._make_folder(client, uri, path.parent)
                await self._send(client, uri, place, part, meter)
                await _rename(client, part, path)
        except BaseException:
            await surely(self._clean(uri, part), CLEANING_SECONDS)
            raise

    async def walk(self, uri: Uri) -> AsyncIterator[Item]:
        """Every file below a folder; for a file, itself."""
        path = _path(uri)
        async with self._pool.client(uri) as client:
            if uri.is_folder:
                found = await client.list(path, recursive=True, raw_command=await _lister(client))
            else:
                size, at = await _facts(client, path)
                found = [(path, {"type": "file", "size": str(size), "modify": at or ""})]
        base = path if uri.is_folder else path.parent
        for one, facts in sorted(found, key=lambda pair: str(pair[0])):
            if facts["type"] == "file":
                yield _item(uri, one, str(one.relative_to(base)), facts)

    async def remove(self, uri: Uri) -> None:
        """Remove one file."""
        async with self._pool.client(uri) as client:
            await client.remove_file(_path(uri))

    def folder(self, uri: Uri, tag: str) -> AbstractAsyncContextManager[Uri]:  # noqa: ARG002 - each file has a temporary name of its own
        """Files go one by one to their places."""
        return nullcontext(uri)

    async def close(self) -> None:
        """Hang up."""
        await self._pool.close()

    async def _make_folder(self, client: aioftp.Client, uri: Uri, folder: PurePosixPath) -> None:
        """Make a folder and those above it; whether that was needed, the upload will tell."""
        for one in reversed([folder, *folder.parents]):
            if (uri.host, one) not in self._folders and one.name:
                with contextlib.suppress(StatusCodeError):
                    await client.command(f"MKD {one}", "257")
                self._folders.add((uri.host, one))

    async def _send(
        self, client: aioftp.Client, uri: Uri, place: Path, part: PurePosixPath, meter: Meter
    ) -> None:
        sent = 0
        try:
            stream = await client.upload_stream(part)
            while content := await self._threads.run(partial(stretch, place, sent, PIECE)):
                await stream.write(content)
                meter.add(len(content))
                sent += len(content)
            await stream.finish()
        except FileNotFoundError as error:
            raise local_error(uri, error) from error
        found, _ = await _facts(client, part)
        check_size(uri, found, sent, transient=True)

    async def _clean(self, uri: Uri, part: PurePosixPath) -> None:
        async with self._pool.client(uri) as client:
            await client.remove_file(part)


class _FtpSource:
    """One file of an FTP server, read from one end to the other."""

    streams = 1

    def __init__(self, pool: "_Pool", uri: Uri) -> None:
        self._pool, self._uri = pool, uri

    @asynccontextmanager
    async def open(self, start: int, end: int | None, version: str | None) -> AsyncIterator[Answer]:
        """Read from `start` on; from the beginning when the file is another one by now."""
        path = _path(self._uri)
        async with self._pool.client(self._uri) as client:
            size, at = await _facts(client, path)
            found = None if at is None else f"{at} {size}"
            begin = start if found == version else 0
            stream = await client.download_stream(path, offset=begin)
            del end  # FTP reads to the end
            yield Answer(_pieces(stream), begin, size, size, found)


class _Pool:
    """Connections that wait for their next file."""

    def __init__(self, options: FetchOptions, bounds: Bounds) -> None:
        self._options, self._bounds = options, bounds
        self._idle: defaultdict[str, list[aioftp.Client]] = defaultdict(list)
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(PER_HOST)
        )

    @asynccontextmanager
    async def client(self, uri: Uri) -> AsyncIterator[aioftp.Client]:
        """A logged-in client; it is used again, unless something goes wrong."""
        async with self._slots[uri.host], self._bounds.slot(uri.host):
            with _told(uri, self._options.stall):
                client = await self._connected(uri)
                try:
                    yield client
                except BaseException:
                    # Not QUIT: it would meet the answer to what was broken off.
                    client.close()
                    raise
                self._idle[uri.host].append(client)

    async def close(self) -> None:
        """Hang up all."""
        for idle in self._idle.values():
            for client in idle:
                client.close()
        self._idle.clear()
        await asyncio.sleep(0)  # the turn of the loop in which their sockets are closed

    async def _connected(self, uri: Uri) -> aioftp.Client:
        idle = self._idle[uri.host]
        while idle:
            client = idle.pop()
            try:
                await client.command("NOOP", "2xx")
            except (AIOFTPException, OSError):
                client.close()  # it was idle for too long
            else:
                return client
        return await self._new(uri)

    async def _new(self, uri: Uri) -> aioftp.Client:
        name, _, port = uri.host.rpartition(":")
        if not port.isdecimal() or uri.host.endswith("]"):
            name, port = uri.host, str(PORT)
        client = aioftp.Client(
            connection_timeout=self._options.connect, socket_timeout=self._options.stall
        )
        try:
            await _connect(client, uri, name.strip("[]"), int(port))
            await client.login(*_login(name))
            await client.command("TYPE I", "200")  # else SIZE may be refused
        except BaseException:
            client.close()
            raise
        return client


async def _connect(client: aioftp.Client, uri: Uri, host: str, port: int) -> None:
    try:
        await client.connect(host, port)
    except OSError as error:  # a TimeoutError, too
        because = error.strerror or "no answer"
        reason = f"cannot connect to {host}:{port}: {because}"
        raise FetchError(uri, reason, FetchFailure.UNREACHABLE) from error


def _login(host: str) -> tuple[str, str]:
    """Who we are for a host: ~/.netrc of this machine, else anonymous."""
    try:
        known = netrc.netrc().hosts.get(host)
    except (OSError, netrc.NetrcParseError):
        known = None
    return (known[0], known[2]) if known else ("anonymous", "pytq@")


async def _lister(client: aioftp.Client) -> Literal["MLSD", "LIST"]:
    """How a server lists; aioftp would try, and forget the connection on which it was refused."""
    _, features = await client.command("FEAT", ("2xx", "5xx"))
    modern = any("MLSD" in line.upper() or "MLST" in line.upper() for line in features)
    return "MLSD" if modern else "LIST"


async def _facts(client: aioftp.Client, path: PurePosixPath) -> tuple[int, str | None]:
    """A file's size, and the time of its last change as FTP writes it, if it is known."""
    try:
        _, size = await client.command(f"SIZE {path}", "213")
    except StatusCodeError as error:
        if str(error.received_codes[-1]) not in _UNKNOWN_COMMAND:
            raise
        facts = await client.stat(path)
        return int(facts["size"]), facts.get("modify")
    try:
        _, at = await client.command(f"MDTM {path}", "213")
    except StatusCodeError:
        return int(size[-1]), None
    return int(size[-1]), at[-1].strip()


async def _pieces(stream: aioftp.DataConnectionThrottleStreamIO) -> AsyncIterator[bytes]:
    while piece := await stream.read(PIECE):
        yield piece
    await stream.finish()


async def _rename(client: aioftp.Client, part: PurePosixPath, path: PurePosixPath) -> None:
    try:
        await client.rename(part, path)
    except StatusCodeError:
        await client.remove_file(path)  # some servers do not rename over a file
        await client.rename(part, path)


def _path(uri: Uri) -> PurePosixPath:
    path = unquote(uri.path)
    if not path.isprintable():
        reason = "FTP cannot carry control characters in a name; rename it"
        raise FetchError(ascii(str(uri)), reason, FetchFailure.UNSAFE)
    return PurePosixPath(path)


def _item(uri: Uri, path: PurePosixPath, name: str, facts: Mapping[str, Any]) -> Item:
    one = Uri("ftp", uri.options, uri.host, quote(str(path)), ())
    at = None
    with contextlib.suppress(ValueError):
        at = datetime.strptime(facts.get("modify", "")[:14], _LISTED_AS).replace(tzinfo=UTC)
    size = int(facts["size"])
    return Item(one, Entry(str(one), size, at, None, name, f"{facts.get('modify', '')} {size}"))


@contextmanager
def _told(uri: Uri, stall: float) -> Iterator[None]:
    """Turn errors of FTP into ours."""
    try:
        yield
    except StatusCodeError as error:
        raise _failure(uri, error) from error
    except TimeoutError as error:
        raise FetchError(uri, f"no byte for {stall:g} s", FetchFailure.STALLED) from error
    except (AIOFTPException, OSError, EOFError, ValueError) as error:
        reason = f"the connection to {uri.host} broke off"
        raise FetchError(uri, reason, FetchFailure.BROKEN) from error


def _failure(uri: Uri, error: StatusCodeError) -> FetchError:
    code = str(error.received_codes[-1])
    words = error.info if isinstance(error.info, str) else " ".join(error.info)
    said = "".join(char for char in words if char.isprintable()).strip()[:SAID_CHARS]
    reason = f"the FTP server answers {code} {said}".rstrip()
    if code == "550":
        return FetchError(uri, f"{reason} (a folder's name ends in /)", FetchFailure.MISSING)
    if code in ("530", "532", "553"):
        cure = "; an account belongs into ~/.netrc of this machine"
        return FetchError(uri, reason + cure, FetchFailure.DENIED)
    if code == "552" or code.startswith("452"):
        return FetchError(uri, reason, FetchFailure.DENIED, transient=False)
    if code.startswith("4"):
        return FetchError(uri, reason, FetchFailure.BUSY)
    return FetchError(uri, reason, FetchFailure.UNSUPPORTED)
