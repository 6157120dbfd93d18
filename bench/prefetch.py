"""Prefetch: how busy a worker's slots are while slow inputs come, with and without it.

    .venv/bin/python bench/prefetch.py                       # 200 tasks of 20 MB, about 15 minutes
    .venv/bin/python bench/prefetch.py --tasks 20 --megabytes 5 --run 0.6

Tasks with an input each are run by one worker with one slot, the inputs served over a link of so
many megabytes a second in all. A task runs a little longer than its input takes to come: only then
can fetching ahead hide it, and only fetching ahead can keep the slot busy. The two contenders run
side by side, each with a server, a worker and a link of its own: what slows the machine slows both.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
import urllib.request
from datetime import datetime
from itertools import pairwise

from aiohttp import web
from procs import end as end_processes
from procs import free_port, launch, make_room, remove_room

from pytq import credentials
from pytq.schema import address

PYTQ = [sys.executable, "-m", "pytq.cli.main"]
MEGABYTE = 1_000_000
PIECE = 256 * 1024
LATE_SECONDS = (
    0.5  # so far behind its rate the link catches up, should this process be kept waiting
)


class Link:
    """Serves the same bytes under every name, so many a second over all connections together."""

    def __init__(self, size, rate):
        self.size, self.rate = size, rate
        self.free_at = 0.0
        self.runner = None
        self.url = ""

    async def start(self):
        app = web.Application()
        app.router.add_get("/{name}", self.serve)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def stop(self):
        await self.runner.cleanup()

    async def serve(self, request):
        answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        answer.content_length = self.size
        await answer.prepare(request)
        self.free_at = max(self.free_at, time.monotonic())  # an idle link saves nothing up
        left = self.size
        while left:
            piece = min(PIECE, left)
            await self.turn(piece)
            await answer.write(bytes(piece))
            left -= piece
        return answer

    async def turn(self, amount):
        """Wait until the link has carried what came before, and this."""
        now = time.monotonic()
        self.free_at = max(self.free_at, now - LATE_SECONDS) + amount / self.rate
        await asyncio.sleep(max(0.0, self.free_at - now))


class System:
    """A server and one worker."""

    def __init__(self, name, prefetch):
        self.room = make_room()
        self.address = f"127.0.0.1:{free_port()}"
        self.name, self.prefetch = name, prefetch
        self.started = []
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("PYTQ_")}

    def start_server(self):
        port = self.address.rpartition(":")[2]
        words = [*PYTQ, "server", "--port", port, "--data-dir", self.room / "data"]
        self.started.append(launch(words, self.room, self.env, name="server"))
        for _ in range(200):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://{self.address}/healthz", timeout=2).close()
                return
            time.sleep(0.05)
        raise SystemExit((self.room / "server.log").read_text())

    def start_worker(self):
        words = [*PYTQ, "worker", self.address, "1", "--name", self.name, "--kill"]
        words += ["--prefetch", str(self.prefetch), "--work-dir", self.room / "work"]
        self.started.append(launch(words, self.room, self.env, name="worker"))

    def ask(self, path, body=None):
        token = credentials.token_for(address.parse(self.address))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        url = f"http://{self.address}/api/v1/{path}"
        with urllib.request.urlopen(
            urllib.request.Request(url, data, headers), timeout=60
        ) as reply:
            return json.load(reply)

    def executions(self):
        """All executions that have ended."""
        found, after = [], ""
        while True:
            page = self.ask(f"executions?limit=1000{after}")
            found += page["items"]
            if not page["next"]:
                return [one for one in found if one["ended_at"]]
            after = f"&after={page['next']}"

    def stop(self):
        end_processes(self.started[::-1])
        remove_room(self.room)


async def contend(args, name, prefetch):
    """Run all tasks; what the slot did meanwhile."""
    link, system = Link(args.megabytes * MEGABYTE, args.rate * MEGABYTE), System(name, prefetch)
    await link.start()
    try:
        await asyncio.to_thread(system.start_server)
        tasks = [
            {"command": ["sleep", str(args.run)], "inputs": [f"{link.url}/{number}.dat"]}
            for number in range(args.tasks)
        ]
        await asyncio.to_thread(system.ask, "tasks", tasks)
        await asyncio.to_thread(system.start_worker)
        while True:
            done = await asyncio.to_thread(system.executions)
            if len(done) >= args.tasks:
                return measure(done)
            print(f"{name}: {len(done)} of {args.tasks}", file=sys.stderr)
            await asyncio.sleep(max(1.0, (args.tasks - len(done)) * args.run / 4))
    finally:
        await asyncio.to_thread(system.stop)
        await link.stop()


def measure(executions):
    """How busy the slot was from the first start to the last end, and what it waited for."""
    bad = [one for one in executions if one["outcome"] != "succeeded"]
    if bad:
        raise SystemExit(f"{len(bad)} tasks did not succeed: {bad[0]['reason']}")
    spans = sorted((moment(one["running_at"]), moment(one["ended_at"])) for one in executions)
    whole = spans[-1][1] - spans[0][0]
    gaps = [after[0] - before[1] for before, after in pairwise(spans)]
    return {
        "seconds": whole,
        "busy": sum(end - begin for begin, end in spans) / whole,
        "gap": statistics.median(gaps),
        "longest": max(gaps),
    }


def moment(text):
    return datetime.fromisoformat(text).timestamp()


def table(args, results):
    """The results as Markdown."""
    yield (
        f"{args.tasks} tasks of {args.run:g} s, each with an input of {args.megabytes} MB over a"
        f" link of {args.rate} MB/s; one slot."
    )
    yield ""
    yield "| prefetch | slot busy | seconds in all | median gap | longest gap |"
    yield "|---:|---:|---:|---:|---:|"
    for prefetch, found in results.items():
        yield (
            f"| {prefetch} | {found['busy']:.1%} | {found['seconds']:.0f}"
            f" | {found['gap'] * 1000:.0f} ms | {found['longest'] * 1000:.0f} ms |"
        )


async def main(args):
    kinds = {0: "without", 1: "with"}
    found = await asyncio.gather(*(contend(args, name, n) for n, name in kinds.items()))
    results = dict(zip(kinds, found, strict=True))
    print("\n".join(table(args, results)))
    return 0 if results[1]["busy"] >= args.at_least else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=20, help="of each input")
    parser.add_argument("--rate", type=int, default=10, help="megabytes a second, in all")
    parser.add_argument("--run", type=float, help="seconds a task runs (default: 1.2 x its input)")
    parser.add_argument(
        "--at-least", type=float, default=0.95, help="busy with prefetch 1, or fail"
    )
    args = parser.parse_args()
    if args.run is None:
        args.run = 1.2 * args.megabytes / args.rate
    return args


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))
