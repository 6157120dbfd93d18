"""Real server, store and agents, the real keeper's decisions, in a simulated world of faults.

Everything is seeded: a history that breaks a promise is played again by its number, and stays
here as one of `RED`. `make soak` plays as many new ones as fit into the time it is given.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from sim_bugs import BUGS, Planted, endless_lease, more_than_slots, no_fence
from sim_history import TASKS, History, play

# Each of these once broke a promise.
RED: Final = (6, 15, 36, 50, 61, 133, 148)
SECONDS: Final = float(os.environ.get("PYTQ_SIMULATION_SECONDS", "0"))
BUG_SEEDS: Final = 12


@pytest.mark.parametrize("seed", RED)
def test_histories_that_once_went_wrong(seed: int, tmp_path: Path) -> None:
    """Whatever befalls it: nothing lost, nothing twice at once, each outcome true."""
    history = play(seed, tmp_path)

    assert sum(history.outcomes.values()) == TASKS
    assert history.faults


def test_the_same_seed_is_the_same_history(tmp_path: Path) -> None:
    """A history can be played again, step by step, in another process too."""
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
    script += "from pathlib import Path; from sim_history import play; "
    script += f"print(play(1, Path({str(tmp_path / 'other')!r})).digest)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    other = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=True
    )

    assert int(other.stdout) == play(1, tmp_path / "here").digest


@pytest.mark.parametrize(
    "bug", [no_fence, endless_lease, more_than_slots] if not SECONDS else list(BUGS)
)
@pytest.mark.timeout(600)
def test_a_planted_bug_is_found(bug: Callable[[], Planted], tmp_path: Path) -> None:
    """Whoever breaks one of the rules that keep the promises hears of it here."""
    for seed in range(BUG_SEEDS):
        with bug():
            try:
                play(seed, tmp_path / str(seed), BUGS[bug])
            except AssertionError:
                return
    pytest.fail(f"nobody noticed that {bug.__doc__}")


@pytest.mark.skipif(not SECONDS, reason="PYTQ_SIMULATION_SECONDS says for how long; see make soak")
@pytest.mark.timeout(2 * SECONDS + 120)
def test_new_histories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many new histories as there is time for keep every promise."""
    begun = time.monotonic()
    first = seed = time.time_ns() % 10**9
    faults: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    steps = 0
    while time.monotonic() - begun < SECONDS:
        history: History = play(seed, tmp_path / str(seed))
        faults += history.faults
        outcomes += history.outcomes
        steps += history.steps
        seed += 1
    told = [
        f"\n{seed - first} histories from seed {first}: {steps:,} steps",
        f"faults: {faults.total():,} {dict(faults)}; outcomes: {dict(outcomes)}\n",
    ]
    with capsys.disabled():
        sys.stdout.write("\n".join(told))
