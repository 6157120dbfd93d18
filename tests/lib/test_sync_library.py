"""`pytq.lib`: plain calls, that go on while the server is away."""

import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pytq.lib import Created, Server, TaskStatus
from pytq.schema.problems import InvalidError, NotFoundError, PytqError


@pytest.fixture
def server(real: Any) -> Any:
    with Server(real.address) as server:
        yield server


def test_star_import_gives_server() -> None:
    """`from pytq.lib import *` gives what the old scripts use."""
    names: dict[str, Any] = {}
    exec("from pytq.lib import *", names)  # noqa: S102 - the very line people write

    assert names["Server"] is Server


def test_shell_text_is_never_requoted(server: Server) -> None:
    """Shell text and words arrive as they were written."""
    text = """for i in 'a "b"' $HOME; do echo "$i" \\$CPU; done"""

    assert server.task_create(text).spec.steps[0].command == text
    assert server.task_create(["a b", "", "'"]).spec.steps[0].command == ["a b", "", "'"]


def test_old_words_still_work(server: Server) -> None:
    """The first PYTQ's keywords mean what they meant."""
    first = server.task_create("true", batch="old", name="n", retry=2, container="alpine")
    second = server.task_create(
        "true",
        batch="old",
        required_task_ids=[first],
        input="s3://bucket/a s3://bucket/b",
        resource=["s3://bucket/c|gunzip"],
        output="s3://bucket/out/",
        run_timeout=5,
        memory=1024,
    )

    task = server.task_get(second)
    assert [first.id] == task.requirements
    assert task.status == TaskStatus.WAITING
    assert len(task.spec.mounts) == 3
    assert (task.spec.timeouts.run, task.spec.request.memory) == (5, 1024)
    assert first.retries == 2
    assert task.created_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"nme": "x"}, "nme"),
        ({"retry": "two"}, "retries"),
        ({"input": "s3:/x"}, "is not a URI"),
        ({"output": "http://a/b"}, "nothing can be written to http"),
        ({"batch": "a b"}, "batch"),
    ],
)
def test_mistakes_are_told_at_once(server: Server, fields: dict[str, Any], said: str) -> None:
    """A mistake is raised where it is made, with the field's name."""
    with pytest.raises(InvalidError, match=said):
        server.task_create("true", **fields)


def test_many_tasks_and_pages(server: Server) -> None:
    """Thousands are created in one go, and come back page after page."""
    created = server.task_create_many([{"command": "true", "batch": "many"}] * 1500)

    assert [task.id for task in created] == [
        t.id for t in server.tasks(batch="many", oldest_first=True)
    ]
    assert server.batch_cancel("many").count == 1500
    joined = server.join(created)
    assert joined.done
    assert joined.counts.cancelled == 1500
    assert set(joined.statuses.values()) == {TaskStatus.CANCELLED}


def test_join_gives_up_in_time(server: Server) -> None:
    """A join with a timeout says how things stand when it is over."""
    task = server.task_create("true", batch="nobody")

    began = time.monotonic()
    joined = server.join([task], timeout=0.3)

    assert not joined.done
    assert joined.statuses == {task.id: TaskStatus.PENDING}
    assert time.monotonic() - began < 3


def test_threads_can_share_a_server(server: Server) -> None:
    """Many threads create tasks through one server object, and none is lost."""
    found: list[int] = []

    def create() -> None:
        found.extend(server.task_create("true", batch="threads").id for _ in range(10))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == 80
    assert server.counts("threads").pending == 80


def test_work_goes_on_while_the_server_is_away(absent: Any) -> None:
    """What is created offline is kept, in order, and is there when the server comes back."""
    with Server(absent.address) as server:
        first = server.task_create("echo 1", name="first")
        second = server.task_create("echo 2", required_task_ids=[first])
        renamed = server.task_update(1, name="renamed")
        assert server.unsent == 3
        assert "waits" in repr(first)
        starter = threading.Timer(0.3, absent.start)
        starter.start()

        counts = server.counts()  # waits for the server, and for what was written before
        starter.join()

        assert (counts.pending, counts.waiting) == (1, 1)
        assert server.unsent == 0
        assert second.requirements == [first.id]
        assert renamed.name == "renamed"


def test_reads_wait_no_longer_than_asked(absent: Any) -> None:
    """With a timeout, a read of a server that stays away fails in time and says so."""
    with Server(absent.address, timeout=0.3) as server:
        began = time.monotonic()
        with pytest.raises(PytqError, match="cannot reach"):
            server.counts()

        assert time.monotonic() - began < 3


def test_a_refusal_of_what_was_kept_reaches_the_lazy_answer(absent: Any) -> None:
    """If the server refuses what was kept for it, the lazy answer raises the real error."""
    with Server(absent.address) as server:
        lazy = server.task_cancel(4711)
        absent.start()

        with pytest.raises(NotFoundError):
            _ = lazy.status


def test_unsent_work_is_never_silently_lost(absent: Any) -> None:
    """A program that ends with work unsent says how much of it."""
    code = (
        "from pytq.lib import *\n"
        f"s = Server({absent.address!r})\n"
        "[s.task_create('true') for _ in range(3)]\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )

    assert "3 changes were NOT sent" in done.stderr


def test_unsent_work_is_sent_at_the_end(absent: Any) -> None:
    """A program that ends while the server comes back still delivers."""
    code = (
        "from pytq.lib import *\n"
        f"s = Server('localhost:' + {absent.address!r}.rpartition(':')[2])\n"
        "s.task_create('true')\n"
    )

    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    absent.start()
    _, said = child.communicate(timeout=30)

    assert said == ""
    with Server(absent.address) as server:
        assert server.counts().pending == 1


def test_created_is_a_task_reference(server: Server) -> None:
    """What was created can be used wherever a task's number can."""
    task = server.task_create("true", batch="ref")

    assert isinstance(task, Created)
    assert int(task) == server.task_get(task).id
    assert server.task_cancel(task).status == TaskStatus.CANCELLED
    assert server.task_retry(task).status == TaskStatus.PENDING
    server.task_cancel(task)
    server.task_delete(task)
    with pytest.raises(NotFoundError):
        server.task_get(task)


def test_a_fork_goes_on_working(server: Server) -> None:
    """A process forked while a server object lives can use that object."""
    code = (
        "import multiprocessing as m\n"
        "from pytq.lib import *\n"
        f"s = Server({str(server.address)!r})\n"
        "s.counts()\n"
        "def go(): s.task_create('true', batch='forked').id\n"
        "p = m.get_context('fork').Process(target=go); p.start(); p.join(20)\n"
        "s.task_create('true', batch='forked').id\n"
    )

    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=40)

    assert server.counts("forked").pending == 2


def test_join_and_output_end_to_end(server: Server, real: Any, tmp_path: Path) -> None:
    """With a worker, join returns when the tasks are done, and their output can be read."""
    good = server.task_create("echo hello; echo oops >&2", batch="ete")
    bad = server.task_create(["sh", "-c", "exit 3"], batch="ete")
    words = [real.address, "2", "--batch", "ete", "--work-dir", str(tmp_path), "--kill"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "pytq.cli.main", "worker", *words], stderr=subprocess.DEVNULL
    )
    try:
        joined = server.join([good, bad], timeout=30)
        assert joined.statuses == {good.id: TaskStatus.SUCCEEDED, bad.id: TaskStatus.FAILED}
        assert server.task_output(good) == b"hello\n"
        assert server.task_output(good, "stderr") == b"oops\n"
        assert [one.exit_code for one in server.executions(task=bad)] == [3]
        assert [worker.batch for worker in (one.settings for one in server.workers())] == ["ete"]
    finally:
        worker.terminate()
        worker.wait(30)
