"""The switches of `pytq worker` that concern containers, as people type them."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--allow-docker-option=frob",), "frob is none of the options that can be allowed"),
        (("--allow-docker-option=gpus",), "--gpus needs no permission"),
        (("--data=/nonexistent/folder",), "there is no such folder"),
    ],
)
def test_a_mistake_is_explained(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """A switch that makes no sense says so, and what would."""
    command = [sys.executable, "-m", "pytq.cli.main", "worker", "127.0.0.1:9", "1", *words]
    done = subprocess.run(
        [*command, "--work-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_switches_become_options(tmp_path: Path) -> None:
    """Long and short names mean the same; an empty folder of data is none."""
    import argparse

    from pytq.cli.worker import _options, add_parser

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    words = ["worker", "--allow-docker-option=-v", "--allow-docker-option", "network"]
    given = _options(parser.parse_args([*words, f"--data={tmp_path}"]))
    without = _options(parser.parse_args(["worker", "--data="]))

    assert given.docker_options == ("volume", "network")
    assert (given.data_dir, without.data_dir) == (tmp_path, None)
