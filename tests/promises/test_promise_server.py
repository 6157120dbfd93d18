"""The server is killed, frozen, crowded; its answers are lost: what was acknowledged stays."""

import asyncio
import http.client
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from clusters import syncing
from load import Load
from servers.meddler import Fault, meddler
from sites import LEASE, LONG, Site, until
from strace import traced
from swarm import Swarm

Open = Callable[..., Site]


def test_a_server_killed_again_and_again(site: Open, database_uri: str) -> None:
    """Killed while it takes in, leases and is told: every task runs once and ends well."""
    one = site(database_uri)
    for name in ("w1", "w2"):
        one.start_agent(4, name)
    with Load(one, one.trace()).going_on() as load:
        for _ in range(10 if LONG else 3):
            load.grown_by(60)
            one.restart_server()
        load.grown_by(60)

    load.all_ran_once()


def test_a_lost_reply_is_answered_again(site: Open, database_uri: str) -> None:
    """Committed, but the answer never came: the same key gives the same task, after kill -9 too."""
    one = site(database_uri)
    body = {"command": "true"}
    with meddler(f"http://{one.address}") as proxy:
        proxy.spoil(1, Fault.LOST, method="POST")
        with pytest.raises((OSError, http.client.HTTPException)):
            one.call("POST", "/tasks", body, "key", address=f"127.0.0.1:{proxy.port}")
    one.restart_server()
    [there] = one.get("/tasks")["items"]

    status, said, _ = one.call("POST", "/tasks", body, "key")
    assert (status, said["ids"]) == (201, [there["id"]])
    status, said, _ = one.call("POST", "/tasks", {"command": "false"}, "key")
    assert (status, said["field"]) == (409, "Idempotency-Key")


def test_fifty_clients_with_one_key(site: Open, database_uri: str) -> None:
    """Fifty connections at once with one key: one task, fifty equal answers."""
    one = site(database_uri)
    body = [{"command": "true"}] * 3
    with ThreadPoolExecutor(50) as pool:
        said = list(pool.map(lambda _: one.call("POST", "/tasks", body, "key")[:2], range(50)))

    assert {status for status, _ in said} == {201}
    assert {tuple(answer["ids"]) for _, answer in said} == {(1, 2, 3)}
    assert len(one.get("/tasks")["items"]) == 3


def test_every_submit_is_on_the_disk_before_its_answer(site: Open, disk_uri: str | None) -> None:
    """A power cut loses nothing that was acknowledged: each answer comes after an fsync."""
    one = site(disk_uri)
    with traced(syncing(one, disk_uri), "fsync,fdatasync") as calls:
        one.submit("true")
        before = calls()
        for number in range(1, 11):
            one.submit("true")
            assert calls() >= before + number


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_a_forgetful_postgresql_is_refused(site: Open, kind: str, database_uri: str) -> None:
    """With synchronous_commit=off an acknowledged task might be lost: the server does not start."""
    connection = await asyncpg.connect(database_uri)
    name = database_uri.rpartition("/")[2]
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.close()
    one = site(database_uri, start=False)
    words = ["server", "--port", str(one.port), "--data-dir", str(one.folder / "d")]
    done = await asyncio.to_thread(one.run, *words)

    assert done.returncode == 1
    assert b"set synchronous_commit=on" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_frozen_server_blames_nobody(site: Open, database_uri: str) -> None:
    """A server that was asleep hands nothing on: all that runs is reported when it wakes."""
    one = site(database_uri, PYTQ_LEASE_SECONDS=str(LEASE))
    one.start_agent(4)
    ids = one.submit(*[one.trace(f"sleep {nap}") for nap in (1, 3, 6)])
    until(lambda: len(one.traces()) == len(ids))
    assert one.server is not None
    one.server.send_signal(signal.SIGSTOP)
    time.sleep(LEASE / 2)
    one.server.send_signal(signal.SIGCONT)

    assert [task["status"] for task in one.ended(ids)] == ["succeeded"] * 3
    assert one.traces() == {f"{number}.1": 1 for number in ids}
    assert "was asleep" in one.log("server")


def test_a_server_frozen_past_the_lease(site: Open, database_uri: str) -> None:
    """Whoever cannot reach a server ends its tasks in time; once it wakes they run again, once."""
    one = site(database_uri, PYTQ_LEASE_SECONDS=str(LEASE))
    one.start_agent(1)
    [task] = one.submit(one.pulse())
    until(one.pulses, 20)
    assert one.server is not None
    one.server.send_signal(signal.SIGSTOP)
    time.sleep(LEASE * 1.6)
    count = len(one.pulses()[1])
    assert set(one.pulses()) == {1}
    one.server.send_signal(signal.SIGCONT)
    until(lambda: 2 in one.pulses(), 40, lambda: one.log("w"))
    one.let_go()
    [ended] = one.ended([task])

    assert len(one.pulses()[1]) == count  # it had ended before the server woke
    assert (ended["status"], ended["losses"], ended["failures"]) == ("succeeded", 1, 0)
    assert [each["outcome"] for each in one.tries(task)] == ["lost", "succeeded"]
    assert "was asleep" in one.log("server")


def test_a_server_without_free_files(site: Open, database_uri: str) -> None:
    """Out of file descriptors it turns away who is new; workers work on, and it recovers."""
    one = site(database_uri)
    one.start_agent(2)
    one.online()
    one.get("/tasks")
    assert one.server is not None
    pid = one.server.pid
    held = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    ids = one.submit(*[one.trace("sleep 2")] * 4)
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={held + 4}:4096"], check=True)
    crowd = [http.client.HTTPConnection("127.0.0.1", one.port, timeout=1) for _ in range(30)]
    for line in crowd:
        line.connect()
    until(lambda: len(one.traces()) == 4, 20)
    assert not one.server.poll()
    for line in crowd:
        line.close()

    assert [task["status"] for task in one.ended(ids, 30)] == ["succeeded"] * 4
    assert one.traces() == {f"{number}.1": 1 for number in ids}


async def test_a_hundred_workers_come_back_at_once(site: Open, database_uri: str) -> None:
    """A hundred hellos and ten thousand tasks right after a restart: beats are still answered."""
    one = site(database_uri)
    async with Swarm(one, 100) as swarm:
        await swarm.all_welcome()
        await asyncio.to_thread(one.restart_server)
        batches = [[{"command": "true"}] * 10_000 for _ in range(2)]
        submits = [asyncio.to_thread(one.call, "POST", "/tasks", some) for some in batches]
        answers, _ = await asyncio.gather(asyncio.gather(*submits), swarm.all_welcome())
        assert [status for status, _, _ in answers] == [201, 201]
        beats = await swarm.beat(3)

    assert len(beats) == 300
    assert sorted(beats)[int(len(beats) * 0.99)] < 2.0
    counts = one.get("/counts")  # once: tasks are being handed back
    assert counts["pending"] + counts["active"] == 20_000
