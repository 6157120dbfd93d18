"""A simulated server for `bench/tui.py`: a million tasks, 200 workers, 2,000 changes a second.

It speaks the event stream and the endpoints that the cockpit reads. Tasks are made when they are
asked for. Changes are coalesced as the real server does: at most one frame each quarter second.
"""

import asyncio
import itertools
import random
import sys
import time

from aiohttp import WSMsgType, web

from pytq.schema import limits
from pytq.schema.endpoints import PREFIX
from pytq.schema.stream import STREAM_PATH

TASKS = 1_000_000
WORKERS = 200
BATCHES = 20
CHANGES_A_SECOND = 2_000
FAILED_EACH = 29  # one task of so many has failed
VERSION = "0.3.0"
GIB = 1024**3


def now():
    """The time as the API shows it."""
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 10**6:06}Z"
    )


def batch_of(task):
    return f"batch-{task % BATCHES:02}"


def status_of(task):
    if task % FAILED_EACH == 0:
        return "failed"
    return "succeeded" if task < TASKS * 0.6 else "active" if task < TASKS * 0.604 else "pending"


def task_view(task, stamp):
    """A task, made from its number."""
    status = status_of(task)
    return {
        "id": task,
        "name": f"sample-{task}",
        "batch": batch_of(task),
        "status": status,
        "priority": 0,
        "retries": 2,
        "failures": 3 if status == "failed" else 0,
        "losses": 0,
        "attempt": 0 if status == "pending" else 1,
        "run_when": "succeeded",
        "requirements": [],
        "tags": {},
        "reason": {"cause": "exit", "detail": "the command ended with code 3"}
        if status == "failed"
        else None,
        "created_at": stamp,
        "changed_at": stamp,
        "spec": {
            "steps": [{"command": ["pipeline.sh", "-e", "-c", "/input", f"sample-{task}"]}],
            "mounts": [{"source": f"s3://data/sample-{task}.fastq.gz", "path": "/input/a.gz"}],
            "outputs": [
                {"path": "/output", "destination": f"s3://results/{task}/", "directory": True}
            ],
        },
    }


def execution_view(task, stamp):
    """The latest execution of a task."""
    ended = status_of(task) not in ("active", "pending")
    return {
        "id": f"{task}.1",
        "task": task,
        "attempt": 1,
        "worker": f"vm-{task % WORKERS:03}",
        "phase": "ended" if ended else "running",
        "outcome": status_of(task) if ended else None,
        "reason": None,
        "exit_code": None,
        "paused": False,
        "stop_wanted": None,
        "assigned_at": stamp,
        "downloading_at": stamp,
        "ready_at": stamp,
        "running_at": stamp,
        "uploading_at": None,
        "ended_at": stamp if ended else None,
        "cpu_seconds": None,
        "memory": None,
        "stdout_bytes": 0,
        "stderr_bytes": 0,
    }


class Simulation:
    """What changes all the time."""

    def __init__(self):
        self.dice = random.Random(0)
        self.succeeded = int(TASKS * 0.58)
        self.event = 0
        self.began = now()

    def server(self):
        failed = TASKS // FAILED_EACH
        return {
            "version": VERSION,
            "api": "v1",
            "protocol": 1,
            "database": "postgresql",
            "started_at": self.began,
            "now": now(),
            "workers_connected": WORKERS,
            "counts": {
                "waiting": 0,
                "pending": TASKS - self.succeeded - failed - 4_000,
                "active": 4_000,
                "succeeded": self.succeeded,
                "failed": failed,
                "cancelled": 0,
            },
        }

    def batch(self, number):
        share = self.succeeded // BATCHES
        return {
            "name": f"batch-{number:02}",
            "paused": False,
            "created_at": self.began,
            "counts": {
                "pending": TASKS // BATCHES - share - 200,
                "active": 200,
                "succeeded": share,
                "failed": TASKS // FAILED_EACH // BATCHES,
                "waiting": 0,
                "cancelled": 0,
            },
            "workers": WORKERS // BATCHES,
        }

    def worker(self, number):
        dice = self.dice
        return {
            "id": number + 1,
            "name": f"vm-{number:03}",
            "hostname": f"vm-{number:03}.internal",
            "status": "online",
            "settings": {"version": 1, "batch": f"batch-{number % BATCHES:02}", "concurrency": 20},
            "applied": 1,
            "version": VERSION,
            "cpus": 32,
            "memory": 128 * GIB,
            "containers": True,
            "open": 21,
            "downloading": 1,
            "running": dice.randint(15, 20),
            "load": {
                "load": dice.uniform(10, 30),
                "cpu": dice.uniform(50, 100),
                "iowait": dice.uniform(0, 9),
                "memory": dice.uniform(40, 80),
                "swap": 0.0,
                "disk_free": 200 * GIB,
                "disks": [{"path": "/scratch", "free": 200 * GIB, "total": 400 * GIB}],
                "received": dice.randint(0, 10**8),
                "sent": dice.randint(0, 10**7),
                "read": dice.randint(0, 10**8),
                "written": dice.randint(0, 10**8),
            },
            "created_at": self.began,
            "seen_at": now(),
        }

    def events(self, amount):
        for _ in range(amount):
            self.event += 1
            yield {
                "id": self.event,
                "at": now(),
                "kind": "lost",
                "actor": "server",
                "task": self.dice.randint(1, TASKS),
                "attempt": 1,
                "batch": None,
                "worker": f"vm-{self.dice.randrange(WORKERS):03}",
                "detail": "its worker went away",
            }

    def points(self, amount):
        at = int(time.time()) // limits.HISTORY_STEP * limits.HISTORY_STEP
        for back in range(amount - 1, -1, -1):
            yield {
                "at": at - back * limits.HISTORY_STEP,
                "submitted": 0,
                "started": 2_000,
                "succeeded": self.dice.randint(1_500, 2_500),
                "failed": 2,
                "lost": 1,
            }

    def snapshot(self):
        return {
            "type": "snapshot",
            "server": self.server(),
            "batches": [self.batch(number) for number in range(BATCHES)],
            "workers": [self.worker(number) for number in range(WORKERS)],
            "jobs": [],
            "events": list(self.events(limits.STREAM_EVENTS)),
            "history": list(self.points(720)),
        }

    def changes(self, watched):
        """A quarter second: 500 changes, of which everything visible has its share."""
        amount = int(CHANGES_A_SECOND * limits.STREAM_SECONDS)
        self.succeeded += amount // 2
        stamp = now()
        touched = self.dice.sample(range(WORKERS), WORKERS * 9 // 10)
        seen = self.dice.sample(watched, len(watched) // 2)
        return {
            "type": "changes",
            "server": self.server(),
            "batches": [self.batch(number) for number in range(BATCHES)],
            "workers": [self.worker(number) for number in touched],
            "events": list(self.events(amount // 10)),
            "history": list(self.points(2)),
            "watched": [self.watched(task, stamp) for task in seen],
        }

    def watched(self, task, stamp):
        return {
            "id": task,
            "task": task_view(task, stamp),
            "execution": execution_view(task, stamp),
            "output": True,
        }


class Server:
    """The simulation behind a port."""

    def __init__(self):
        self.world = Simulation()

    async def stream(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        watched = []
        await socket.send_json(self.world.snapshot())
        sending = asyncio.create_task(self.send(socket, watched))
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                watched[:] = message.json()["tasks"]
        sending.cancel()
        return socket

    async def send(self, socket, watched):
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not socket.closed:
            due += limits.STREAM_SECONDS
            await asyncio.sleep(max(0.0, due - loop.time()))
            await socket.send_json(self.world.changes(watched))

    async def tasks(self, request):
        """A page by keyset, of all tasks or of the failed ones."""
        limit = int(request.query.get("limit", 100))
        statuses = request.query.getall("status", [])
        rising = request.query.get("oldest_first") == "true"
        after = request.query.get("after")
        step = 1 if rising else -1
        start = int(after) + step if after else (1 if rising else TASKS)
        numbers = range(start, TASKS + 1) if rising else range(start, 0, -1)
        fit = (task for task in numbers if not statuses or status_of(task) in statuses)
        page = list(itertools.islice(fit, limit))
        stamp = now()
        answer = {
            "items": [task_view(task, stamp) for task in page],
            "next": str(page[-1]) if len(page) == limit else None,
        }
        return web.json_response(answer)

    async def task(self, request):
        return web.json_response(task_view(int(request.match_info["task"]), now()))

    async def executions(self, request):
        task = int(request.query.get("task", 1))
        return web.json_response({"items": [execution_view(task, now())], "next": None})

    async def nothing(self, _request):
        return web.json_response([])


async def serve(port):
    """Until killed."""
    server = Server()
    app = web.Application()
    get = app.router.add_get
    get(PREFIX + STREAM_PATH, server.stream)
    get(PREFIX + "/tasks", server.tasks)
    get(PREFIX + "/tasks/{task}", server.task)
    get(PREFIX + "/executions", server.executions)
    get(PREFIX + "/batches/{name}/failures", server.nothing)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
