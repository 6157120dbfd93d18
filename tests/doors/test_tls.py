"""TLS by options, and certificates that are looked at."""

import asyncio
import datetime as dt
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from door_parts import eventually
from system import System

from pytq.identity import InsecureError
from pytq.lib import Server
from pytq.server import certificate

PYTQ = [sys.executable, "-m", "pytq.cli.main"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure(tmp_path: Path, authority: Authority) -> Iterator[System]:
    """A server that speaks https, and people who know its authority."""
    system = System(tmp_path, None)
    cert, key = authority.vouch("localhost", "127.0.0.1")
    system.address = f"https://127.0.0.1:{system.port}"
    system.env |= {"PYTQ_SERVER": system.address, "PYTQ_CA": str(authority.file)}
    try:
        start(system, cert, key)
        yield system
    finally:
        system.stop()


def start(system: System, cert: Path, key: Path) -> None:
    (system.folder / "server.log").unlink(missing_ok=True)
    words = ["server", "--port", system.port, "--data-dir", system.folder / "data"]
    words += ["--tls-cert", cert, "--tls-key", key]
    system.server = system._start([*PYTQ, *words], "server")
    eventually(lambda: "ready on https://" in system.log("server"))


def test_everybody_speaks_tls(secure: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launch, commands, worker and library work over https as over http."""
    secure.start_worker()

    launched = secure.run("launch", "--wait", "echo", "hello")
    monkeypatch.setenv("PYTQ_CA", secure.env["PYTQ_CA"])
    with Server(secure.address) as server:
        listed = [task.name for task in server.tasks()]

    assert launched.stdout == b"hello\n", launched.stderr
    assert listed == [None]
    assert secure.run("worker", "list").stdout.count(b"online") == 1


@pytest.mark.parametrize("by", ["--ca", "SSL_CERT_FILE"])
def test_the_authority_can_be_named(secure: System, by: str) -> None:
    """By option, or as every program that uses OpenSSL is told."""
    ca = secure.env.pop("PYTQ_CA")
    words = ["--ca", ca] if by == "--ca" else []
    if not words:
        secure.env[by] = ca

    assert secure.run("task", "list", *words).returncode == 0
    assert secure.run("launch", *words, "true").returncode == 0


@pytest.mark.parametrize("words", [("launch", "true"), ("task", "list")])
def test_an_unknown_authority_is_told(secure: System, words: tuple[str, ...]) -> None:
    """Nothing is sent to a server whose certificate nobody vouches for, and what to do is said."""
    del secure.env["PYTQ_CA"]

    done = secure.run(*words)

    assert done.returncode == 1
    assert b"its certificate is not trusted here" in done.stderr
    assert b"--ca or PYTQ_CA" in done.stderr
    assert b"Traceback" not in done.stderr


def test_another_ones_certificate_is_told(secure: System, authority: Authority) -> None:
    """A certificate for another name is not taken for this server's, nor is an expired one."""
    secure.stop()
    start(secure, *authority.vouch("elsewhere.example", file="other"))
    for words in (("launch", "true"), ("task", "list")):
        said = secure.run(*words).stderr
        assert b"its certificate is for another name" in said, said
    secure.stop()
    old = authority.vouch("127.0.0.1", lasts=dt.timedelta(days=-1), file="old")
    start(secure, *old)
    for words in (("launch", "true"), ("task", "list")):
        said = secure.run(*words).stderr
        assert b"its certificate has expired" in said, said


def test_a_worker_waits_for_a_certificate_it_can_trust(secure: System) -> None:
    """A worker keeps trying, and its log says what is wrong."""
    del secure.env["PYTQ_CA"]
    secure.start_worker()

    eventually(lambda: "its certificate is not trusted here" in secure.log("w"))

    assert "Traceback" not in secure.log("w")


def test_the_library_says_so_at_once(secure: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """No patience helps with a certificate: the error comes right away."""
    monkeypatch.delenv("PYTQ_CA", raising=False)
    with Server(secure.address) as server, pytest.raises(InsecureError, match="not trusted"):
        server.info()


def test_http_to_an_https_server_and_the_reverse_are_told(secure: System, guest: System) -> None:
    """Whoever mixes up http and https is told so."""
    wrong = f"https://127.0.0.1:{guest.port}"
    for words in (("launch", "-s", wrong, "true"), ("task", "list", "-s", wrong)):
        done = secure.run(*words)
        assert done.returncode == 1
        assert f"try http://127.0.0.1:{guest.port}".encode() in done.stderr, done.stderr
    plain = secure.run("launch", "-s", f"127.0.0.1:{secure.port}", "true")
    assert plain.returncode == 1
    assert b"Traceback" not in plain.stderr


def certificate_shown(port: int) -> bytes | None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port)) as wire, context.wrap_socket(wire) as tls:
        return tls.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_used_on_sighup(secure: System, authority: Authority) -> None:
    """New connections see the new certificate; one that is no good changes nothing."""
    before = certificate_shown(secure.port)
    assert secure.server is not None

    cert, _ = authority.vouch("localhost", "127.0.0.1")
    secure.server.send_signal(signal.SIGHUP)
    eventually(lambda: certificate_shown(secure.port) != before)
    after = certificate_shown(secure.port)
    cert.write_text("nonsense")
    secure.server.send_signal(signal.SIGHUP)
    eventually(lambda: "still using the old certificate" in secure.log("server"))

    assert certificate_shown(secure.port) == after
    assert secure.run("task", "list").returncode == 0
    assert "Traceback" not in secure.log("server")


async def test_a_changed_file_is_noticed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever renews certificates need not know of SIGHUP."""
    monkeypatch.setattr(certificate, "LOOK_SECONDS", 0.01)
    cert, key = authority.vouch("localhost", file="watched")
    one = certificate.Certificate(cert, key)
    renewed = asyncio.Event()
    monkeypatch.setattr(one, "renew", renewed.set)
    watching = asyncio.create_task(one.watch())

    authority.vouch("localhost", file="watched")

    async with asyncio.timeout(5):
        await renewed.wait()
    watching.cancel()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tls-cert", "CERT"], "a certificate and its key go together"),
        (["--tls-key", "KEY"], "a certificate and its key go together"),
        (["--tls-cert", "/nowhere", "--tls-key", "KEY"], "there is no file /nowhere"),
        (["--tls-cert", "KEY", "--tls-key", "CERT"], "cannot be used"),
        (["--tls-cert", "CERT", "--tls-key", "OTHER"], "cannot be used"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_told(
    authority: Authority, tmp_path: Path, options: list[str], said: str
) -> None:
    """The server says what is wrong with its certificate, and does not start without it."""
    cert, key = authority.vouch("localhost", file="good")
    _, other = authority.vouch("localhost", file="other")
    given = {"CERT": str(cert), "KEY": str(key), "OTHER": str(other)}
    words = [given.get(word, word) for word in options]

    done = subprocess.run(
        [*PYTQ, "server", "--port", "0", "--data-dir", tmp_path / "data", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_authority_file_is_told(guest: System) -> None:
    """--ca with a file that holds no certificate is one sentence."""
    for file in ("/nowhere", "/dev/null"):
        options = ("--ca", file, "-s", "https://127.0.0.1")
        for words in (("launch", *options, "true"), ("task", "list", *options)):
            done = guest.run(*words)
            assert done.returncode == 1
            assert f"the CA file {file} cannot be used".encode() in done.stderr, done.stderr


def test_beyond_loopback_without_tls_is_said_loudly(tmp_path: Path) -> None:
    """A server that the network can reach asks for tokens, and complains that they can be read."""
    system = System(tmp_path, None)
    try:
        system.start_server("--host", "0.0.0.0")  # noqa: S104 - that is the point
        assert "NO TLS" in system.log("server")
        assert "INSECURE" not in system.log("server")
        assert system.run("task", "list").returncode == 0
        system.env["XDG_DATA_HOME"] = str(tmp_path / "elsewhere")
        assert b"this server wants a token" in system.run("task", "list").stderr
        system.stop()
        system.start_server("--host", "0.0.0.0", "--insecure")  # noqa: S104 - likewise
        assert "INSECURE" in system.log("server")
        assert system.run("task", "list").returncode == 0
    finally:
        system.stop()
