"""Starts that take their time: they hold up nobody, and miss no order."""

import os
from pathlib import Path

from worker_parts import Keeper


def pipe(keeper: Keeper, name: str) -> Path:
    place = keeper.home / "room" / name
    os.mkfifo(place)
    return place


def ends(keeper: Keeper, count: int) -> list[str]:
    """The next so many that exited, in whatever order."""
    ended: list[str] = []
    while len(ended) < count:
        message = keeper.hear()
        if message["type"] == "exited":
            ended.append(message["id"])
    return sorted(ended)


def test_one_that_is_slow_to_start_holds_up_nobody(keeper: Keeper) -> None:
    """While one start waits (here, for the reader of its stdout), others come and go."""
    waits = pipe(keeper, "slow")
    keeper.start("1.1.0", "sh", "-c", "exit 7", stdout=str(waits))
    names = [f"{number}.1.0" for number in range(2, 22)]
    for name in names:
        keeper.start(name, "true")
    assert ends(keeper, len(names)) == sorted(names)

    reader = os.open(waits, os.O_RDONLY | os.O_NONBLOCK)
    assert keeper.hear_of("1.1.0", "exited")["code"] == 7
    os.close(reader)


def test_an_order_that_comes_during_the_start_is_not_lost(keeper: Keeper) -> None:
    """What is to end before its start is through ends right after it."""
    waits = pipe(keeper, "slow")
    keeper.start("1.1.0", "sleep", "977.1", stdout=str(waits))
    keeper.say({"type": "signal", "id": "1.1.0", "signal": "kill", "cause": "cancelled"})
    keeper.start("2.1.0", "true")
    keeper.hear_of("2.1.0", "exited")

    reader = os.open(waits, os.O_RDONLY | os.O_NONBLOCK)
    exited = keeper.hear_of("1.1.0", "exited")
    os.close(reader)

    assert (exited["signal"], exited["cause"]) == (9, "cancelled")


def test_a_later_step_may_not_wait_for_a_pipe(keeper: Keeper) -> None:
    """A step whose stdin or stdout was made a pipe by the step before is refused, with the name."""
    left = pipe(keeper, "left")
    keeper.start("1.1.1", "cat", stdin=str(left))
    assert "stdin is not a regular file" in keeper.hear_of("1.1.1", "failed")["message"]

    keeper.start("2.1.1", "true", stdout=str(left))
    assert keeper.hear_of("2.1.1", "failed")["file"] == str(left)


def test_hundreds_of_starts_at_once_end_once_each(keeper: Keeper) -> None:
    """Exits that come before their start was reported are neither lost nor told twice."""
    names = [f"{number}.1.0" for number in range(1, 301)]
    for name in names:
        keeper.start(name, "true")

    assert ends(keeper, len(names)) == sorted(names)
