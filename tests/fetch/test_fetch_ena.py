"""Runs by accession: ENA's file report, in its real format, by https, ftp and the SRA tools."""

import gzip
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from fetch_parts import QUICK, names
from servers.ena import EnaDouble
from servers.ftp import FtpServer
from servers.web import Lie, LyingServer

from pytq.fetch import Fetcher, FetchError, FetchFailure, FetchOptions, Progress

RUN = "SRR890934"


def reads(*ends: str) -> dict[str, bytes]:
    return {f"{RUN}{end}.fastq.gz": gzip.compress(os.urandom(50_000)) for end in ends}


@pytest.fixture
def ena(web: LyingServer, ftp: FtpServer) -> EnaDouble:
    return EnaDouble(web, ftp.root)


@pytest.fixture
def options(ena: EnaDouble, ftp: FtpServer) -> FetchOptions:
    known = ena.environment
    return replace(
        QUICK,
        ena_url=known["PYTQ_ENA_URL"],
        ena_https=known["PYTQ_ENA_HTTPS"],
        ena_ftp=f"{ftp.url}/{{path}}",
    )


@pytest.fixture
async def runs(options: FetchOptions) -> AsyncIterator[Fetcher]:
    async with Fetcher(options) as made:
        yield made


async def fails(fetcher: Fetcher, uri: str, place: Path) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetcher.get(uri, place, directory=True)
    return caught.value


@pytest.mark.parametrize("ends", [("",), ("_1", "_2"), ("", "_1", "_2")], ids=len)
@pytest.mark.parametrize("uri", [f"run+fastq://{RUN}/", f"run+fastq/{RUN}/"])
async def test_a_run_comes(
    runs: Fetcher, ena: EnaDouble, tmp_path: Path, ends: tuple[str, ...], uri: str
) -> None:
    """One, two or three files come, each checked against its own size and MD5."""
    files = reads(*ends)
    ena.add(RUN, files)
    progress = Progress()
    await runs.get(uri, tmp_path / "in", directory=True, progress=progress)

    assert {name: (tmp_path / "in" / name).read_bytes() for name in files} == files
    assert names(tmp_path / "in") == sorted(files)
    assert progress.done == progress.total == sum(map(len, files.values()))


async def test_a_run_is_listed(runs: Fetcher, ena: EnaDouble) -> None:
    """A run's files can be looked at, with sizes and MD5s."""
    files = reads("_1", "_2")
    ena.add(RUN, files)
    listed = [entry async for entry in runs.list(f"run+fastq://{RUN}/")]

    assert [(entry.name, entry.size) for entry in listed] == [
        (name, len(content)) for name, content in files.items()
    ]
    assert all(entry.checksum and entry.checksum.startswith("md5:") for entry in listed)


@pytest.mark.parametrize("lie", [Lie.PAGE, Lie.FLIP, Lie.MISSING, Lie.TRUNCATE, Lie.BROKEN])
async def test_what_https_does_not_give_comes_by_ftp(
    runs: Fetcher, ena: EnaDouble, ftp: FtpServer, tmp_path: Path, lie: Lie
) -> None:
    """A mate that https gives wrong or not at all comes by ftp; the other one does not."""
    files = reads("_1", "_2")
    _, second = ena.add(RUN, files)
    ena.web.always[second] = lie
    await runs.get(f"run+fastq://{RUN}/", tmp_path / "in", directory=True)

    assert {name: (tmp_path / "in" / name).read_bytes() for name in files} == files
    fetched = [line for line in ftp.commands if line.startswith("RETR")]
    assert len(fetched) == 1
    assert fetched[0].endswith("_2.fastq.gz")


@pytest.mark.parametrize(
    ("option", "by_http", "by_ftp"),
    [("ftp", False, True), ("https", True, False), ("http", True, False)],
)
async def test_a_source_can_be_forced(
    runs: Fetcher,
    ena: EnaDouble,
    ftp: FtpServer,
    tmp_path: Path,
    option: str,
    by_http: bool,
    by_ftp: bool,
) -> None:
    """`run+fastq@ftp://` and its like use that source, and no other."""
    paths = ena.add(RUN, reads("_1", "_2"))
    await runs.get(f"run+fastq@{option}://{RUN}/", tmp_path / "in", directory=True)

    assert any(asked.path in paths for asked in ena.web.asked) is by_http
    assert any(line.startswith("RETR") for line in ftp.commands) is by_ftp
    assert len(names(tmp_path / "in")) == 2


async def test_submitted_files_where_ena_made_none(
    runs: Fetcher, ena: EnaDouble, tmp_path: Path
) -> None:
    """Where ENA has no FASTQ of its own, submitted FASTQ comes, and nothing else submitted."""
    ena.add(RUN, {"s_R1.fq.gz": b"1", "s.bam": b"2"}, kind="submitted")
    await runs.get(f"run+fastq://{RUN}/", tmp_path / "in", directory=True)

    assert names(tmp_path / "in") == ["s_R1.fq.gz"]


async def test_an_unknown_run_is_told_with_a_cure(
    runs: Fetcher, ena: EnaDouble, tmp_path: Path
) -> None:
    """`[]` is believed the second time it is said, and is permanent."""
    error = await fails(runs, "run+fastq://SRR000001/", tmp_path / "in")

    assert (error.kind, error.transient) == (FetchFailure.MISSING, False)
    assert "run's accession" in str(error)
    assert ena.questions == 2


async def test_ena_is_asked_again(runs: Fetcher, ena: EnaDouble, tmp_path: Path) -> None:
    """Errors of the portal, and an empty answer about what is there, do not stop a run."""
    ena.add(RUN, reads(""))
    ena.failures, ena.empties = 2, 1
    await runs.get(f"run+fastq://{RUN}/", tmp_path / "in", directory=True)

    assert names(tmp_path / "in") == [f"{RUN}.fastq.gz"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fastq_md5": "0" * 32}, "not in step"),
        ({"fastq_bytes": "1;x"}, "not complete"),
        ({"fastq_ftp": "h/a_2.fastq.gz;h/b_2.fastq.gz"}, "does not pair up"),
        ({"fastq_ftp": "h/x/a_1.fastq.gz;h/y/a_1.fastq.gz"}, "does not pair up"),
        ({"fastq_ftp": "", "fastq_md5": "", "fastq_bytes": ""}, "no FASTQ files"),
    ],
)
async def test_a_report_that_makes_no_sense(
    runs: Fetcher, ena: EnaDouble, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    """Values out of step, and mates without their mate, are refused, not guessed at."""
    ena.add(RUN, reads("_1", "_2"))
    ena.rows[RUN] |= change
    error = await fails(runs, f"run+fastq@ena://{RUN}/", tmp_path / "in")

    assert said in str(error)
    assert str(error).startswith(f"run+fastq@ena://{RUN}/")


async def test_an_unknown_source(runs: Fetcher, tmp_path: Path) -> None:
    """An option that is none is told, with those that there are."""
    error = await fails(runs, f"run+fastq@aspera://{RUN}/", tmp_path / "in")

    assert "@https" in str(error)
    assert error.kind is FetchFailure.UNSUPPORTED


async def test_without_the_sra_tools_it_is_said(
    runs: Fetcher, ena: EnaDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that only SRA has needs its tools; that they are missing is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    ena.add(RUN, {f"{RUN}.sra": b"archive"}, kind="sra")
    error = await fails(runs, f"run+fastq@sra://{RUN}/", tmp_path / "in")

    assert "install the SRA toolkit" in str(error)


async def test_the_sra_tools_make_what_ena_lacks(
    runs: Fetcher, ena: EnaDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without FASTQ the SRA file comes, and `fasterq-dump` makes packed FASTQ of it."""
    # The real tools ask NCBI; this one reads the archive that it is given.
    tool = tmp_path / "bin" / "fasterq-dump"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\n"
        'while [ $# -gt 1 ]; do [ "$1" = --outdir ] && out=$2; shift; done\n'
        'mkdir -p "$out"; for end in 1 2; do cat "$1" > "$out/run_$end.fastq"; done\n'
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    ena.add(RUN, {f"{RUN}.sra": b"@r\nACGT\n+\nIIII\n"}, kind="sra")
    await runs.get(f"run+fastq://{RUN}/", tmp_path / "in", directory=True)

    assert names(tmp_path / "in") == [f"{RUN}_1.fastq.gz", f"{RUN}_2.fastq.gz"]
    packed = (tmp_path / "in" / f"{RUN}_1.fastq.gz").read_bytes()
    assert gzip.decompress(packed) == b"@r\nACGT\n+\nIIII\n"
