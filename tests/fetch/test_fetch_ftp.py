"""FTP: files and folders both ways, resumed, by old and new servers."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from fetch_parts import CALM, QUICK, names
from servers.ftp import FtpServer, ftp_server

from pytq.fetch import Fetcher, FetchError, FetchFailure, Progress

BIG = os.urandom(10_000_000)


def fill(server: FtpServer) -> dict[str, bytes]:
    files = {"a b%": b"1", "sub/deep/x": BIG, "sub/empty": b""}
    for name, content in files.items():
        place = server.root / "pub" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return files


@pytest.mark.parametrize("modern", [True, False], ids=["mlsd", "list"])
async def test_a_folder_comes_and_goes(calm: Fetcher, tmp_path: Path, modern: bool) -> None:
    """Everything below a folder comes and goes, also by servers that know only LIST and PASV."""
    (tmp_path / "ftp").mkdir()
    with ftp_server(tmp_path / "ftp", modern=modern) as server:
        files = fill(server)
        progress = Progress()
        await calm.get(f"{server.url}/pub/", tmp_path / "in", directory=True, progress=progress)
        for _ in range(2):  # over itself, too
            await calm.put(tmp_path / "in", f"{server.url}/up/x/", directory=True, tag="7.1")
        listed = {entry.name: entry.size async for entry in calm.list(f"{server.url}/up/")}
        removed = await calm.remove(f"{server.url}/up/")

    assert {name: (tmp_path / "in" / name).read_bytes() for name in files} == files
    assert listed == {f"x/{name}": len(content) for name, content in files.items()}
    assert removed == len(files)
    assert names(server.root / "up") == []
    assert progress.done == progress.total == len(BIG) + 1


async def test_it_goes_on_where_it_was_cut_off(ftp: FtpServer, tmp_path: Path) -> None:
    """A transfer that breaks off is resumed with REST, not begun again."""
    fill(ftp)
    ftp.cuts += [6_000_000]
    async with Fetcher(replace(CALM, attempts=2)) as fetcher:
        await fetcher.get(f"{ftp.url}/pub/sub/deep/x", tmp_path / "x")

    assert (tmp_path / "x").read_bytes() == BIG
    rests = [int(line.split()[1]) for line in ftp.commands if line.startswith("REST")]
    assert len(rests) == 1
    assert 1_000_000 < rests[0] < 7_000_000


async def test_a_file_that_changed_is_begun_again(ftp: FtpServer, tmp_path: Path) -> None:
    """When time or size on the server are other ones, what came before is thrown away."""
    fill(ftp)
    ftp.cuts += [6_000_000]
    async with Fetcher(replace(QUICK, attempts=1)) as fetcher:
        with pytest.raises(FetchError, match=r"broke off|ended"):
            await fetcher.get(f"{ftp.url}/pub/sub/deep/x", tmp_path / "x")
        (ftp.root / "pub/sub/deep/x").write_bytes(BIG[::-1])
        os.utime(ftp.root / "pub/sub/deep/x", (1, 1))
        await fetcher.get(f"{ftp.url}/pub/sub/deep/x", tmp_path / "x")

    assert (tmp_path / "x").read_bytes() == BIG[::-1]


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/none", FetchFailure.MISSING, "550"),
        ("/none/x", FetchFailure.MISSING, "550"),
        ("/pub/a%0D%0ADELE%20b", FetchFailure.UNSUPPORTED, "control characters"),
    ],
)
async def test_what_cannot_come(
    fetcher: Fetcher, ftp: FtpServer, tmp_path: Path, path: str, kind: FetchFailure, said: str
) -> None:
    """What is not there is told at once; no line break gets into a command."""
    fill(ftp)
    with pytest.raises(FetchError, match=said) as caught:
        await fetcher.get(f"{ftp.url}{path}", tmp_path / "x")

    assert (caught.value.kind, caught.value.transient) == (kind, False)
    assert not [line for line in ftp.commands if line.startswith("DELE")]


async def test_an_account_comes_from_netrc(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not know anonymous is logged in to as ~/.netrc says; else it is told."""
    (tmp_path / "ftp").mkdir()
    (tmp_path / "ftp" / "a").write_bytes(b"1")
    monkeypatch.setenv("HOME", str(tmp_path))
    with ftp_server(tmp_path / "ftp", users={"lab": "hunter2"}) as server:
        with pytest.raises(FetchError, match="netrc") as caught:
            await fetcher.get(f"{server.url}/a", tmp_path / "x")
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login lab password hunter2\n")
        (tmp_path / ".netrc").chmod(0o600)
        await fetcher.get(f"{server.url}/a", tmp_path / "x")

    assert caught.value.kind is FetchFailure.DENIED
    assert (tmp_path / "x").read_bytes() == b"1"


async def test_nobody_there(fetcher: Fetcher, tmp_path: Path) -> None:
    """A server that is down is told with its address, and may pass."""
    with pytest.raises(FetchError, match="cannot connect to") as caught:
        await fetcher.get("ftp://127.0.0.1:1/x", tmp_path / "x")

    assert caught.value.transient
