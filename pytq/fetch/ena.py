"""Sequencing runs by accession: run+fastq://SRR…/, as ENA's file report tells where they are.

A run is one file, two mates (`_1` and `_2`), or these and the reads that lost their mate. The
report's values go by position: a file, its MD5, its size. Each file comes over https, else over
ftp, else the whole run is made by the SRA tools where they are installed; options say otherwise:
`run+fastq@ftp://`, several in the order to try them.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Any, Final

from yarl import URL

from pytq.fetch import folders, retry
from pytq.fetch.engine import Item, Wanted
from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.parts import inside
from pytq.fetch.sra import SraTools
from pytq.fetch.threads import Threads
from pytq.fetch.transfer import Entry, Meter, Progress
from pytq.fetch.web import Web, beginning, refused
from pytq.schema import uris
from pytq.schema.uris import Uri

# What each option tries, in order.
SOURCES: Final = {
    "https": ("https",),
    "http": ("https",),
    "ftp": ("ftp",),
    "ena": ("https", "ftp"),
    "sra": ("sra",),
    "ncbi": ("sra",),
}
EVERYTHING: Final = ("https", "ftp", "sra")
KINDS: Final = ("fastq", "submitted", "sra")
FIELDS: Final = ",".join(
    ["run_accession", *(f"{kind}_{what}" for kind in KINDS for what in ("ftp", "md5", "bytes"))]
)
EMPTY_ANSWERS: Final = 2  # ENA now and then answers nothing about what it has
# What a copy elsewhere cannot cure.
_HERE: Final = frozenset({FetchFailure.DISK, FetchFailure.LOCAL, FetchFailure.UNSAFE})
_FASTQ: Final = re.compile(r"\.f(?:ast)?q(?:\.gz|\.bz2)?$", re.IGNORECASE)
_MATE: Final = re.compile(r"_([12])\.f(?:ast)?q(?:\.gz|\.bz2)?$", re.IGNORECASE)
_MD5: Final = re.compile(r"[0-9a-f]{32}")

FetchFile = Callable[[Uri, Path, Wanted, Meter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RunFile:
    """One file of a run, as the report tells of it."""

    host: str
    path: str
    md5: str
    size: int

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def wanted(self) -> Wanted:
        """What it must be."""
        return Wanted(self.size, f"md5:{self.md5}")


class EnaEngine:
    """Finds the files of a run, and has them fetched."""

    def __init__(self, web: Web, threads: Threads, fetch: FetchFile) -> None:
        self._web = web
        self._fetch = fetch
        self._sra = SraTools(threads, web.options)

    async def get(self, uri: Uri, place: Path, wanted: Wanted, meter: Meter) -> None:
        """Refuse: a run is a folder."""
        del place, wanted, meter
        raise FetchError(uri, "is a folder; ask for it as one", FetchFailure.UNSUPPORTED)

    async def walk(self, uri: Uri) -> AsyncIterator[Item]:
        """The files of a run, where they are first looked for."""
        sources = _sources(uri)
        files = _reads(uri, await self._report(uri))
        for file in files:
            where = self._location(file, sources[0] if sources[0] != "sra" else "https")
            entry = Entry(str(where), file.size, None, f"md5:{file.md5}", file.name)
            yield Item(where, entry)

    async def bring(self, uri: Uri, place: Path, progress: Progress) -> None:
        """Bring a run's files to below `place`."""
        sources = _sources(uri)
        report = await self._report(uri)
        failure: FetchError | None = None
        if direct := [source for source in sources if source != "sra"]:
            try:
                await self._bring_files(uri, _reads(uri, report), direct, place, progress)
            except FetchError as error:
                if "sra" not in sources or error.kind in _HERE:
                    raise
                failure = error
            else:
                return
        try:
            await self._bring_sra(uri, report, place, progress)
        except FetchError as error:
            if failure is None or error.kind in _HERE:
                raise
            reason = f"{failure.reason}; nor from SRA: {error.reason}"
            raise FetchError(uri, reason, failure.kind, transient=failure.transient) from error

    async def close(self) -> None:
        """Nothing of its own."""

    async def _bring_files(
        self, uri: Uri, files: list[RunFile], sources: list[str], place: Path, progress: Progress
    ) -> None:
        meters = {file.name: Meter(progress) for file in files}
        for file in files:
            meters[file.name].expect(file.size)

        async def each() -> AsyncIterator[RunFile]:
            for file in files:
                yield file

        async def one(file: RunFile) -> None:
            target = inside(uri, place, file.name)
            await self._bring_file(file, sources, target, meters[file.name])

        await folders.each(each(), one, len(files))

    async def _bring_file(
        self, file: RunFile, sources: list[str], target: Path, meter: Meter
    ) -> None:
        """Bring one file from the first source that has it, whole and right."""
        for source in sources:
            try:
                await self._fetch(self._location(file, source), target, file.wanted, meter)
            except FetchError as error:
                if source == sources[-1] or error.kind in _HERE:
                    raise
            else:
                return

    async def _bring_sra(
        self, uri: Uri, report: dict[str, Any], place: Path, progress: Progress
    ) -> None:
        """Make the run's FASTQ from its SRA file, which ENA may have, too."""
        found = _files(uri, report, "sra")
        meter = Meter(progress)
        async with self._sra.room(uri, place) as room:
            if len(found) == 1:
                await self._bring_file(found[0], ["https", "ftp"], room / found[0].name, meter)
            await self._sra.dump(uri, room, found[0].name if found else None, place, meter)

    def _location(self, file: RunFile, source: str) -> Uri:
        options = self._web.options
        shape = options.ena_https if source == "https" else options.ena_ftp
        text = shape.replace("{host}", file.host).replace("{path}", file.path)
        return uris.parse(text)

    async def _report(self, uri: Uri) -> dict[str, Any]:
        """What ENA knows of a run."""
        for _ in range(EMPTY_ANSWERS):
            rows = await retry.persist(lambda: self._ask(uri), self._web.options)
            if rows:
                return rows[0]
        reason = (
            "ENA knows no such run; give a run's accession (SRR, ERR or DRR and digits),"
            " not a sample's or a study's"
        )
        raise FetchError(uri, reason, FetchFailure.MISSING)

    async def _ask(self, uri: Uri) -> list[dict[str, Any]]:
        query = {"accession": uri.host, "result": "read_run", "fields": FIELDS, "format": "json"}
        url = URL(self._web.options.ena_url).update_query(query)
        async with self._web.ask(uri, "GET", url) as response:
            if response.status == HTTPStatus.NO_CONTENT:
                return []
            if response.status != HTTPStatus.OK:
                raise refused(uri, response, "to the question where its files are")
            text = await beginning(response)
        try:
            rows = json.loads(text)
        except ValueError:
            rows = None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            reason = "ENA's file report is no file report; is $PYTQ_ENA_URL right?"
            raise FetchError(uri, reason, FetchFailure.CORRUPT, transient=True)
        return [row for row in rows if row.get("run_accession", uri.host) == uri.host]


def _sources(uri: Uri) -> list[str]:
    """What to try, in order, once each."""
    unknown = [option for option in uri.options if option not in SOURCES]
    if unknown:
        reason = f"there is no source {unknown[0]!r}; there are @" + ", @".join(SOURCES)
        raise FetchError(uri, reason, FetchFailure.UNSUPPORTED)
    tries = chain(*(SOURCES[option] for option in uri.options)) if uri.options else EVERYTHING
    return list(dict.fromkeys(tries))


def _reads(uri: Uri, report: dict[str, Any]) -> list[RunFile]:
    """The FASTQ files of a run: those that ENA made, else those that were submitted."""
    files = _files(uri, report, "fastq")
    if not files:
        submitted = _files(uri, report, "submitted")
        files = [file for file in submitted if _FASTQ.search(file.name)]
    if not files:
        reason = "ENA has no FASTQ files of this run"
        raise FetchError(uri, reason, FetchFailure.MISSING)
    _check_mates(uri, files)
    return files


def _files(uri: Uri, report: dict[str, Any], kind: str) -> list[RunFile]:
    """The files of a kind. The report's values go in step: the third MD5 is the third file's."""
    columns = [_values(report, f"{kind}_{what}") for what in ("ftp", "md5", "bytes")]
    places, sums, sizes = columns
    if not (len(places) == len(sums) == len(sizes)):
        reason = f"ENA's report on its {kind} files is not in step: {list(map(len, columns))}"
        raise FetchError(uri, reason, FetchFailure.CORRUPT)
    return [_file(uri, *row) for row in zip(places, sums, sizes, strict=True)]


def _values(report: dict[str, Any], name: str) -> list[str]:
    value = str(report.get(name) or "")
    return [part.strip() for part in value.strip(";").split(";")] if value.strip(";") else []


def _file(uri: Uri, place: str, md5: str, size: str) -> RunFile:
    host, _, path = place.partition("://")[2 if "://" in place else 0].partition("/")
    if not host or not path or not _MD5.fullmatch(md5) or not size.isdecimal():
        reason = f"ENA's report on {place[:200]!r} is not complete"
        raise FetchError(uri, reason, FetchFailure.CORRUPT)
    return RunFile(host, path, md5, int(size))


def _check_mates(uri: Uri, files: list[RunFile]) -> None:
    """Refuse what a pipeline would take for a pair, and is none."""
    names = [file.name for file in files]
    mates = [found[1] for name in names if (found := _MATE.search(name))]
    doubled = len(set(names)) < len(names)
    if doubled or mates.count("2") > mates.count("1"):
        reason = f"ENA's report does not pair up: {', '.join(names)[:500]}"
        raise FetchError(uri, reason, FetchFailure.CORRUPT)
