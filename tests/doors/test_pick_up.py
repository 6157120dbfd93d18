"""On one machine nobody ever sees a token, and nobody else gets in."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import platformdirs
import pytest
from system import System

from pytq import credentials
from pytq.lib import Server
from pytq.schema import address

PYTQ = [sys.executable, "-m", "pytq.cli.main"]


def pointer(system: System) -> Path:
    return Path(credentials.pointer(system.port))


def test_the_newcomer_sees_no_token(system: System) -> None:
    """Launch, task, worker and the library get in by themselves, and say nothing of tokens."""
    system.start_worker()
    launched = system.run("launch", "--wait", "echo", "hello")
    listed = system.run("task", "list")
    with Server(system.address) as server:
        created = server.task_create("true")
        joined = server.join([created])

    assert launched.stdout == b"hello\n", launched.stderr
    assert b"succeeded" in listed.stdout
    assert joined.done
    for said in (launched.stderr, listed.stdout, system.log("server").encode()):
        assert b"pytq_" not in said


def test_what_is_left_is_for_its_user_alone(system: System) -> None:
    """Tokens lie in a file and a folder that only their user can read."""
    left = system.folder / "data" / f"access-{system.port}.json"

    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert stat.S_IMODE(left.parent.stat().st_mode) == 0o700
    assert pointer(system).resolve() == left
    assert set(json.loads(left.read_text())["tokens"]) == {"admin", "worker"}


def test_another_user_of_the_machine_is_refused(guest: System, tmp_path: Path) -> None:
    """Whoever else can connect to loopback can read the queue's page, and nothing else."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    tmp_path.chmod(0o755)
    env = {**os.environ, "XDG_DATA_HOME": os.environ["XDG_DATA_HOME"]}
    Path(env["XDG_DATA_HOME"]).chmod(0o755)

    done = subprocess.run(
        [shutil.which("python3", path="/usr/bin") or sys.executable, "-c", REQUEST, guest.address],
        user="nobody",
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert done.stdout.split() == ["200", "401"], done.stderr


REQUEST = """
import sys, urllib.request, urllib.error, glob, os
for path in ("/healthz", "/api/v1/tasks"):
    request = urllib.request.Request(f"http://{sys.argv[1]}{path}")
    try:
        print(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
for found in glob.glob(os.environ["XDG_DATA_HOME"] + "/pytq/access/*"):
    try:
        print(open(found).read())
    except OSError:
        pass
"""


def test_what_others_could_have_read_is_not_believed(system: System) -> None:
    """A token file that its group or the world can read is no secret, and is not used."""
    place = address.parse(system.address)
    assert credentials.token_for(place)

    pointer(system).resolve().chmod(0o640)

    assert credentials.token_for(place) == ""


def test_nothing_is_left_of_a_server_that_has_stopped(system: System) -> None:
    """After SIGTERM neither the tokens nor the pointer to them are there."""
    left = pointer(system).resolve()
    assert left.exists()

    system.stop()

    assert not left.exists()
    assert not os.path.lexists(pointer(system))


class Squatter:
    """Somebody who has taken a server's port, and writes down what is sent there."""

    def __init__(self, port: int) -> None:
        self.seen: list[str | None] = []
        squatter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                squatter.seen.append(self.headers.get("Authorization"))
                self.send_response(403)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Be quiet."""

        self._http = HTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def test_a_squatter_is_sent_no_token(system: System) -> None:
    """Who takes the port of a server that was killed gets no token, though its file lies there."""
    system.kill_server()
    assert pointer(system).exists()

    squatter = Squatter(system.port)
    try:
        system.run("task", "list")
    finally:
        squatter.close()

    assert squatter.seen == [None]


def test_programs_outlive_the_server(system: System) -> None:
    """A library and a worker that were there before find the new server's tokens by themselves."""
    system.start_worker()
    with Server(system.address) as server:
        first = server.task_create("true")
        server.join([first])
        system.kill_server()
        waiting = server.task_create("true")  # kept until the server is back
        system.start_server()
        assert server.join([first, waiting]).done
        assert waiting.id > first.id


def test_a_second_server_has_tokens_of_its_own(guest: System, tmp_path: Path) -> None:
    """Two servers of one user do not mix up their tokens, whatever their data directories."""
    other = System(tmp_path / "other", None)
    other.folder.mkdir()
    try:
        other.start_server()
        assert other.headers() != guest.headers()
        assert other.run("task", "list").returncode == 0
        assert guest.run("task", "list").returncode == 0
    finally:
        other.stop()


def test_a_server_that_finds_the_port_taken_takes_nothing_away(
    system: System, tmp_path: Path
) -> None:
    """Starting a second server on the same port fails in words and leaves the first one usable."""
    words = [*PYTQ, "server", "--port", str(system.port), "--data-dir", str(tmp_path / "second")]
    done = subprocess.run(
        words, env=system.env, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert "another program may use it" in done.stderr
    assert "Traceback" not in done.stderr
    assert system.run("task", "list").returncode == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"PYTQ_TOKEN": "pytq_" + "x" * 43}, "this token is not known here"),
        ({"PYTQ_TOKEN": "a b"}, "PYTQ_TOKEN holds characters that no token has"),
        ({"PYTQ_TOKEN": "é"}, "PYTQ_TOKEN holds characters that no token has"),
        ({"PYTQ_TOKEN_FILE": "/nowhere"}, "the token file /nowhere cannot be read"),
        ({"PYTQ_TOKEN_FILE": os.devnull}, "holds no token"),
    ],
)
@pytest.mark.parametrize("words", [("launch", "true"), ("task", "list")])
def test_a_wrong_token_is_told(
    guest: System, given: dict[str, str], said: str, words: tuple[str, ...]
) -> None:
    """What was set by hand is used, and if it is wrong that is said in one sentence."""
    guest.env |= given

    done = guest.run(*words)

    assert done.returncode == 1
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert "x" * 43 not in done.stderr.decode()


@pytest.mark.parametrize("by", ["PYTQ_TOKEN", "PYTQ_TOKEN_FILE", "--token-file"])
def test_a_token_can_be_given_by_hand(guest: System, tmp_path: Path, by: str) -> None:
    """A token from `pytq token create` works from the environment and from a file."""
    name = f"anna{len(by)}"
    made = guest.run("token", "create", name, "--role", "viewer").stdout.decode().strip()
    file = tmp_path / "token"
    file.write_text(made + "\n")
    words = ["task", "list", "--json"]
    if by == "--token-file":
        words += [by, str(file)]
    else:
        guest.env[by] = made if by == "PYTQ_TOKEN" else str(file)
    guest.env["XDG_DATA_HOME"] = str(tmp_path / "elsewhere")  # nothing to pick up

    assert guest.run(*words).stdout.startswith(b"[")
    refused = guest.run(*[w.replace("list", "cancel") for w in words if w != "--json"], "1")
    assert f"{name} is a viewer; this needs a submitter" in refused.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [("launch", "--token", "x", "true"), ("task", "list", "--token=x"), ("worker", "--token", "x")],
)
def test_a_token_on_the_command_line_is_refused(guest: System, words: tuple[str, ...]) -> None:
    """What everybody on the machine could read is not taken, with a word on what to do."""
    done = guest.run(*words)

    assert done.returncode == 2
    assert b"a token on a command line can be read by everybody" in done.stderr
    assert b"PYTQ_TOKEN" in done.stderr


def test_the_folder_is_where_the_platform_keeps_data() -> None:
    """Without importing platformdirs, launch looks where platformdirs would."""
    assert Path(credentials.pointers()) == platformdirs.user_data_path("pytq") / "access"


@pytest.mark.parametrize(
    "left", ["", "{", "[]", "null", '{"hosts": 7}', '{"hosts": ["127.0.0.1"], "process": "1"}']
)
def test_a_broken_file_is_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """Half a file, or somebody else's, is as good as none."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("PYTQ_TOKEN", raising=False)
    path = Path(credentials.pointer(5000))
    path.parent.mkdir(parents=True)
    path.write_text(left)
    path.chmod(0o600)

    assert credentials.token_for(address.parse("127.0.0.1:5000")) == ""


def test_a_process_is_known_by_more_than_its_number() -> None:
    """A number that was given again to another process is not taken for the first one."""
    mine = credentials.process(os.getpid())

    assert mine == credentials.process(os.getpid())
    assert mine != credentials.process(1)
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert credentials.process(gone.pid) == ""


def test_only_this_machine_is_shown_a_local_token(guest: System) -> None:
    """A host name that merely leads here is not shown what was left for loopback."""
    name = socket.gethostname()

    assert credentials.token_for(address.Address(name, guest.port)) == ""
    assert credentials.token_for(address.Address("localhost", guest.port))
