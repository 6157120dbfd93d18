"""Failures explain themselves, and nothing that happens is hidden."""

from collections.abc import Callable

import pytest
from sites import Site, until

Open = Callable[..., Site]
WHY = 'echo starting; echo "\x1b[31mno such sample: \x07S7\x1b[0m" >&2; exit 3'


def test_a_failure_explains_itself(site: Open) -> None:
    """Whoever looks at a failed task, or a batch's failures, reads what the command said last."""
    one = site()
    one.start_agent(1)
    [task] = one.submit(WHY)
    one.ended([task])
    said = "the command ended with exit code 3: no such sample: ·S7"

    assert one.task(task)["reason"]["detail"] == said
    assert one.get("/batches/default/failures")[0]["detail"] == said
    for words in (("task", "show", str(task)), ("batch", "failures", "default")):
        shown = " ".join(one.run(*words).stdout.decode().split())
        assert "no such sample: ·S7" in shown
        assert "\x1b" not in shown
    wait = one.run("launch", "--wait", "sh", "-c", WHY)
    assert (wait.returncode, b"\x1b" in wait.stderr) == (3, True)  # its own stderr, as it is


@pytest.mark.parametrize(
    ("task", "status", "cause", "said"),
    [
        ({"command": "exit 3"}, "failed", "exit", "exit code 3"),
        ({"command": "kill -SEGV $$"}, "failed", "signal", "SIGSEGV"),
        ({"command": ["nonesuch"]}, "failed", "command", "command not found: nonesuch"),
        (
            {"command": "sleep 60", "timeouts": {"run": 0.5}},
            "failed",
            "timeout",
            "ran longer than its time limit",
        ),
        ({"command": "x", "inputs": ["file:///none"]}, "failed", "input", "file:///none"),
        (
            {"command": "touch $OUTPUT/x", "output": "file:///proc/none/"},
            "failed",
            "output",
            "/proc/none",
        ),
    ],
)
def test_each_failure_has_its_cause(
    site: Open, task: dict[str, object], status: str, cause: str, said: str
) -> None:
    """A word for programs, and a sentence for people that names the culprit."""
    one = site()
    one.start_agent(1)
    [number] = one.submit(task)
    [ended] = one.ended([number])

    assert (ended["status"], ended["reason"]["cause"]) == (status, cause)
    assert said in ended["reason"]["detail"]


def test_everything_that_happens_is_an_event(site: Open) -> None:
    """What was submitted, leased, cancelled, lost and by whom can be read afterwards, in order."""
    one = site()
    worker = one.start_agent(1)
    [good, bad] = one.submit("true", "sleep 60")
    until(lambda: one.phase(bad) == "running")
    one.call("POST", f"/tasks/{bad}/cancel")
    one.ended([good, bad])
    worker.kill()
    worker.wait()
    until(lambda: one.crew()["w"]["status"] == "offline")
    events = list(reversed(one.get("/events?limit=1000")["items"]))
    kinds = [event["kind"] for event in events]

    assert [event["id"] for event in events] == sorted(event["id"] for event in events)
    assert all(event["actor"] and event["at"] for event in events)
    assert "online" in kinds
    assert kinds[-1] == "offline"
    [cancel] = [event for event in events if event["kind"].startswith("cancel")][:1]
    assert (cancel["task"], cancel["actor"]) == (bad, "local")
