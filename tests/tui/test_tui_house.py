"""The cockpit's house: pure rooms stay pure, and starting is quick."""

import subprocess
import sys
from pathlib import Path

import pytest

PURE = (
    "alerts",
    "bars",
    "cells",
    "columns",
    "filters",
    "knobs",
    "looks",
    "model",
    "paging",
    "panels.overview",
    "panels.task",
    "rates",
    "tables.batches",
    "tables.tasks",
    "tables.workers",
    "timeline",
    "words",
)


def loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_pure_rooms_know_no_terminal() -> None:
    """What is on the screen can be worked out without Textual, a network or a clock."""
    modules = loaded("; ".join(f"import pytq.tui.{name}" for name in PURE))
    assert not modules & {"textual", "aiohttp", "asyncio", "psutil"}


@pytest.mark.parametrize("words", [["tui", "--help"], ["--help"]])
def test_help_is_quick(words: list[str]) -> None:
    """Asking what `pytq tui` is for loads neither Textual nor the client."""
    modules = loaded(
        f"from pytq.cli.main import main\ntry: main({words})\nexcept SystemExit: print()"
    )
    assert "textual" not in modules


def test_screens_never_speak_http() -> None:
    """Widgets and pure rooms ask the server for nothing; only screens, acts and the feed do."""
    tui = Path(__file__).parents[2] / "pytq" / "tui"
    for folder in ("widgets", "panels", "tables"):
        for file in (tui / folder).glob("*.py"):
            assert "pytq.client" not in file.read_text(), file
