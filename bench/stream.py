"""What viewers of the event stream cost the server: the same work with and without them, in turns.

Played workers take tasks and report them done as fast as the server hands them out; viewers read
what they are sent and watch some tasks. Compared are tasks a second, and the server's own CPU a
task, which a busy machine disturbs less.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

import aiohttp
import procs

CAPACITY = 40
GATHER_SECONDS = 0.02  # between a lease and the report of its end
BATCHES = 10


def main():
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--tasks", type=int, default=20_000, help="in each round")
    parser.add_argument("--viewers", type=int, default=5)
    parser.add_argument("--workers", type=int, default=50)
    parser.add_argument("--rate", type=int, default=0, help="tasks a second at most (0: no bound)")
    parser.add_argument("--play", choices=("workers", "viewers"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        asyncio.run(PLAYS[options.play](options))
        return
    room = procs.make_room()
    try:
        report(measure(options, room))
    finally:
        procs.remove_room(room)


def measure(options, room):
    """Rounds in turns: {viewers: [(tasks a second, server's CPU a task), …]}."""
    port = procs.free_port()
    python = [sys.executable, "-m", "pytq.cli.main"]
    words = [*python, "server", "--port", port, "--data-dir", room / "data", "--insecure"]
    server = procs.launch(words, room, name="server")
    found = {0: [], options.viewers: []}
    try:
        asyncio.run(ready(port))
        for number in range(-1, 2 * options.rounds):  # the first one warms up
            viewers = options.viewers if number % 2 else 0
            seen = one_round(options, room, port, server, viewers)
            print(f"{viewers} viewers: {seen[0]:.0f} tasks/s, {seen[1] * 1e6:.0f} us", flush=True)
            if number >= 0:
                found[viewers].append(seen)
    finally:
        procs.end([server])
    return found


def one_round(options, room, port, server, viewers):
    """Tasks a second, and seconds of the server's CPU a task."""
    looking = [play("viewers", port, room, "--viewers", viewers)] if viewers else []
    try:
        asyncio.run(submit(port, options.tasks))
        time.sleep(1.5)  # the viewers have seen the snapshot, the server has settled
        cpu, begin = procs.cpu([server]).own, time.monotonic()
        about = ("--rate", options.rate, "--workers", options.workers)
        workers = play("workers", port, room, "--tasks", options.tasks, *about)
        workers.popen.wait()
        seconds = time.monotonic() - begin
        return options.tasks / seconds, (procs.cpu([server]).own - cpu) / options.tasks
    finally:
        procs.end(looking)


def play(what, port, room, *options):
    """Viewers, or workers, in a process of their own."""
    words = [sys.executable, Path(__file__), "--play", what, "--port", port, *options]
    return procs.launch(words, room, name=what)


def report(found):
    """Medians, and their ratios."""
    (none, without), (some, beside) = sorted(found.items())
    rates = [statistics.median(rate for rate, _ in rounds) for rounds in (without, beside)]
    cpus = [statistics.median(cpu for _, cpu in rounds) for rounds in (without, beside)]
    for viewers, rate, cpu in zip((none, some), rates, cpus, strict=True):
        print(f"{viewers} viewers: {rate:.0f} tasks/s, {cpu * 1e6:.0f} us of the server's CPU each")
    share = (cpus[1] - cpus[0]) * statistics.mean(rates)
    print(f"ratio: {rates[1] / rates[0]:.3f} of the throughput, {cpus[1] / cpus[0]:.3f} x the CPU:")
    print(f"the viewers took {share:.1%} of a core; a server that has no more is slower by that")


# --- those who are played


async def ready(port):
    """Wait until the server answers."""
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            try:
                async with session.get(f"http://127.0.0.1:{port}/healthz"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    raise RuntimeError("the server does not answer")


async def submit(port, count):
    """Queue tasks, over several batches."""
    url = f"http://127.0.0.1:{port}/api/v1/tasks"
    async with aiohttp.ClientSession() as session:
        for begin in range(0, count, 5000):
            tasks = [
                {"command": ["true"], "batch": f"b{number % BATCHES}"}
                for number in range(begin, min(count, begin + 5000))
            ]
            async with session.post(url, json=tasks) as answer:
                answer.raise_for_status()


async def workers(options):
    """Workers that do everything at once, until all tasks are done."""
    left = [options.tasks]
    done = asyncio.Event()
    begin = time.monotonic()
    async with aiohttp.ClientSession() as session:
        crowd = [
            asyncio.create_task(worker(session, options, number, left, done, begin))
            for number in range(options.workers)
        ]
        await done.wait()
        for one in crowd:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)


async def worker(session, options, number, left, done, begin):
    """One of them."""
    url = f"http://127.0.0.1:{options.port}/api/v1/link"
    async with session.ws_connect(url, max_msg_size=0) as socket:
        about = {"incarnation": "i", "boot": "b", "hostname": "h", "version": "bench"}
        about |= {"name": f"w{number}", "identity": f"w{number}", "batch": f"b{number % BATCHES}"}
        about |= {"concurrency": 4, "prefetch": 0, "cpus": 4, "memory": 1, "disk": 1}
        await socket.send_json({"type": "hello", "protocol": 1, **about})
        await socket.receive()
        seq, leases = 0, []
        frame = {"type": "report", "capacity": CAPACITY, "applied": 0}
        await socket.send_json({**frame, "seq": seq})
        async for message in socket:
            orders = json.loads(message.data)
            left[0] -= len(orders.get("settled", ()))
            if left[0] <= 0:
                done.set()
            leases += orders.get("leases", ())
            if not leases:
                continue
            await asyncio.sleep(GATHER_SECONDS)
            if options.rate:  # not before its time
                due = begin + (options.tasks - left[0]) / options.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            seq, ended, leases = seq + 1, [end(lease) for lease in leases], []
            load = {"load": 1.0, "cpu": float(seq % 100)}
            await socket.send_json({**frame, "seq": seq, "ended": ended, "load": load})


def end(lease):
    """A lease's task has succeeded."""
    outcome = {"outcome": "succeeded", "exit_code": 0, "running": 0.01, "ended": 0.005}
    return {"task": lease["task"], "attempt": lease["attempt"], **outcome}


async def viewers(options):
    """Viewers that read as fast as they can, and watch fifty of the latest tasks each."""
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*[viewer(session, options.port) for _ in range(options.viewers)])


async def viewer(session, port):
    """One of them; what it reads it throws away."""
    base = f"http://127.0.0.1:{port}/api/v1"
    async with session.get(f"{base}/tasks?limit=50") as answer:
        ids = [task["id"] for task in (await answer.json())["items"]]
    async with session.ws_connect(f"{base}/stream", max_msg_size=0) as socket:
        if ids:
            await socket.send_json({"type": "watch", "tasks": ids})
        async for _ in socket:
            pass


PLAYS = {"workers": workers, "viewers": viewers}

if __name__ == "__main__":
    main()
