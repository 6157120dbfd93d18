"""The page that lists the promises names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/promises.md"
NAMED = re.compile(r"`?(?:(?P<folder>[a-z]+)/)?`?(?P<name>test_\w+)(?P<file>\.py)?")


def test_every_test_of_the_tables_exists() -> None:
    """Each test that a row names is there, in the folder that is named, else among the promises."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    named = [found for row in rows for found in NAMED.finditer(row.rpartition(" | ")[2])]
    text = {
        folder.name: {path.stem: path.read_text() for path in folder.glob("test_*.py")}
        for folder in TESTS.iterdir()
        if folder.is_dir()
    }
    missing = []
    for found in named:
        files = text[found["folder"] or "promises"]
        there = (
            found["name"] in files
            if found["file"]
            else any(f"def {found['name']}(" in each for each in files.values())
        )
        if not there:
            missing.append(found[0])

    assert len(named) > 100
    assert missing == []
