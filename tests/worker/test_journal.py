"""The journal: nothing that was written down is forgotten, whatever happens to the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytq.schema.frames import root_of
from pytq.worker.journal import Journal


def test_an_identity_is_made_once(tmp_path: Path) -> None:
    """A worker keeps its identity over restarts, and notices that the machine was restarted."""
    first = Journal(tmp_path / "j")
    identity, same = first.identify("boot 1")
    first.close()
    second = Journal(tmp_path / "j")

    assert same
    assert second.identify("boot 2") == (identity, False)
    assert second.identify("boot 2") == (identity, True)
    second.close()


@pytest.mark.parametrize("harm", ["", "0123", "\xff not ours"])
def test_a_damaged_identity_is_mended_while_the_journal_knows_it(tmp_path: Path, harm: str) -> None:
    """Half a file of the identity is written anew, and good when the journal itself is lost."""
    first = Journal(tmp_path / "j.sqlite")
    identity, _ = first.identify("boot")
    first.close()
    (tmp_path / "j.identity").write_text(harm, encoding="latin-1")
    second = Journal(tmp_path / "j.sqlite")
    assert second.identify("boot") == (identity, True)
    second.close()
    (tmp_path / "j.sqlite").unlink()
    third = Journal(tmp_path / "j.sqlite")

    assert root_of(third.identify("boot")[0]) == root_of(identity)
    third.close()


def test_it_remembers_until_dropped(tmp_path: Path) -> None:
    """Leases, staged rooms and outcomes are found again; settled ones are not."""
    journal = Journal(tmp_path / "j")
    journal.accept([((1, 1), "lease 1"), ((2, 1), "lease 2"), ((3, 1), "lease 3")])
    journal.accept([((1, 1), "the same again")])
    journal.stage((2, 1), "room 2")
    journal.end((3, 1), "outcome 3", "room 3")
    assert journal.commit()
    assert not journal.commit()
    journal.drop((1, 1))
    journal.close()
    again = Journal(tmp_path / "j")

    assert [(e.ref, e.lease, e.room, e.outcome) for e in again.read()] == [
        ((2, 1), "lease 2", "room 2", None),
        ((3, 1), "lease 3", "room 3", "outcome 3"),
    ]
    again.close()


def test_kill_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    """A worker killed without warning finds every committed lease again."""
    script = """
import os, signal, sys
from pathlib import Path
from pytq.worker.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(1, 51):
    journal.accept([((number, 1), "x")])
    journal.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "j")], check=False, env=os.environ)
    journal = Journal(tmp_path / "j")

    assert len(journal.read()) == 50
    journal.close()
