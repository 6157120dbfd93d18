"""The one `pytq` command: finds its way, stays light, and says what is wrong."""

import subprocess
import sys
from typing import Any

import pytest

from pytq.schema import address


def test_version(run: Any) -> None:
    """`pytq --version` says which PYTQ this is."""
    from pytq import __version__

    assert run("--version").stdout == f"pytq {__version__}\n"


def test_help_is_light() -> None:
    """`pytq --help` names every subcommand without importing what they need."""
    code = (
        "import sys\nfrom pytq.cli import main\n"
        "try: main.main(['--help'])\nexcept SystemExit: pass\n"
        "bad = {'pydantic', 'aiohttp', 'rich', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(1 if bad else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    for name in ("up", "server", "worker", "launch", "task", "batch"):
        assert f"    {name}" in done.stdout


@pytest.mark.parametrize("words", [[], ["nonsense"], ["task"], ["task", "show", "0"]])
def test_nonsense_is_a_usage_error(run: Any, words: list[str]) -> None:
    """What makes no sense is answered with usage and code 2."""
    done = run(*words)

    assert done.returncode == 2
    assert "usage: pytq" in done.stderr


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("example.org", "http://example.org:5000"),
        ("example.org:81", "http://example.org:81"),
        ("::1", "http://[::1]:5000"),
        ("[::1]:81", "http://[::1]:81"),
        ("http://h", "http://h:80"),
        ("https://h/pytq/", "https://h:443/pytq"),
        ("list:5000", "http://list:5000"),
    ],
)
def test_server_addresses(text: str, url: str) -> None:
    """A server is a host, host:port or URL."""
    assert address.parse(text).url == url


@pytest.mark.parametrize(
    "text", ["", "a b", "h:", "h:0", "h:x", "ftp://h", "http://u:p@h", "http://h/?q", "http://[::1"]
)
def test_bad_addresses_are_told(text: str) -> None:
    """What is no address is refused with a sentence."""
    with pytest.raises(address.AddressError):
        address.parse(text)
