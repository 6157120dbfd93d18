"""`pytq token`: made, listed, revoked from the command line."""

import re
import stat
from pathlib import Path

import pytest
from door_parts import eventually
from system import System


def test_made_listed_revoked(guest: System) -> None:
    """The token alone is printed, so that a script can take it; then it is listed, then gone."""
    made = guest.run("token", "create", "robot", "--role", "operator", "--expires", "30d")
    assert re.fullmatch(r"pytq_[A-Za-z0-9_-]{43}\n", made.stdout.decode())

    listed = guest.run("token", "list").stdout.decode()
    assert re.search(r"^robot +operator +\S+ \S+ +local +\d{4}-", listed, re.MULTILINE)
    assert made.stdout.decode().strip() not in listed

    assert guest.run("token", "revoke", "robot").stdout == b"token robot: revoked\n"
    assert b"robot" not in guest.run("token", "list").stdout
    again = guest.run("token", "revoke", "robot")
    assert (again.returncode, again.stderr) == (
        1,
        b"pytq: there is no token named 'robot'\n",
    )


def test_saved_for_its_owner_alone(guest: System, tmp_path: Path) -> None:
    """--save writes a file that only its owner reads, never over another one."""
    file = tmp_path / "token"

    saved = guest.run("token", "create", "saved", "--save", str(file))
    again = guest.run("token", "create", "again", "--save", str(file))

    assert (saved.returncode, saved.stdout) == (0, b"")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (again.returncode, b"there already" in again.stderr) == (1, True)
    assert b"again" not in guest.run("token", "list").stdout
    guest.env["PYTQ_TOKEN_FILE"] = str(file)
    assert guest.run("launch", "true").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create"], "NAME"),
        (["create", "x", "--role", "root"], "choose from"),
        (["create", "x", "--expires", "soon"], "write it as in 12h or 30d"),
        (["create", "x", "--expires", "0d"], "write it as in 12h or 30d"),
        (["create", "-x"], "NAME"),
        (["create", "a b"], "a name takes letters"),
        (["create", "local"], "choose another name"),
        (["revoke", "nobody"], "there is no token named 'nobody'"),
        (["nonsense"], "VERB"),
    ],
)
def test_nonsense_is_told(guest: System, words: list[str], said: str) -> None:
    """What makes no sense is told in a sentence, without a traceback."""
    done = guest.run("token", *words)

    assert done.returncode in {1, 2}
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_a_link_logs_a_browser_in(guest: System) -> None:
    """`pytq token open` prints a link whose secret part browsers send to no server."""
    guest.env.pop("DISPLAY", None)
    guest.env.pop("WAYLAND_DISPLAY", None)

    link = guest.run("token", "open").stdout.decode()

    assert re.fullmatch(rf"http://{guest.address}/#login=[A-Za-z0-9_-]{{32}}\n", link)


def test_a_worker_may_not_ask(guest: System) -> None:
    """A worker's token opens the link only, and that is said."""
    guest.env["PYTQ_TOKEN"] = guest.run("token", "create", "w9", "--role", "worker").stdout.decode()

    refused = guest.run("task", "list")

    assert refused.returncode == 1
    assert b"a worker's token opens the link only" in refused.stderr


def test_a_browser_is_not_told_by_its_command_line(guest: System, tmp_path: Path) -> None:
    """Where there is a screen a browser opens, by a file that only its user can read."""
    program, told = tmp_path / "browser", tmp_path / "told"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {told}.part && mv {told}.part {told}\n')
    program.chmod(0o755)
    guest.env |= {"DISPLAY": ":99", "BROWSER": f"{program} %s"}

    done = guest.run("token", "open")

    url = eventually(lambda: told.exists() and told.read_text())
    page = Path(str(url).removeprefix("file://"))
    assert (done.returncode, done.stdout) == (0, b"")
    assert "login=" not in str(url)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert f"url=http://{guest.address}/#login=" in page.read_text()


def test_a_token_of_ones_own_lets_the_first_admin_in(tmp_path: Path) -> None:
    """Where nothing can be picked up, a file with a token given at the start is enough."""
    file, short = tmp_path / "given", tmp_path / "short"
    file.write_text("L" * 44 + "\n")
    short.write_text("secret")
    system = System(tmp_path, None)
    try:
        with pytest.raises(AssertionError, match="fewer than 32 characters"):
            system.start_server("--admin-token-file", short)
        system.start_server("--admin-token-file", file)
        system.env["XDG_DATA_HOME"] = str(tmp_path / "elsewhere")
        assert system.run("task", "list").returncode == 1
        made = system.run("token", "create", "me", "--role", "admin", "--token-file", str(file))
        system.env["PYTQ_TOKEN"] = made.stdout.decode().strip()
        assert system.run("token", "list").stdout.count(b" admin ") == 2  # its role, and by whom
        assert "L" * 44 not in system.log("server")
    finally:
        system.stop()
