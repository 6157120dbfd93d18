"""People and programs that submit, cancel, retry and tune; what they send gets lost, too."""

import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from sim_world import Worker, World

from pytq.schema.problems import PytqError
from pytq.schema.states import RunWhen, Signal
from pytq.schema.tasks import TaskSubmit
from pytq.schema.views import BatchUpdate, SignalOrder, WorkerUpdate

LENGTHS: Final = (0.005, 0.005, 0.05, 0.5, 3.0, 20.0, 60.0)  # seconds
ANSWER_SECONDS: Final = 10.0  # then it is sent again
LOST: Final = 0.05  # of requests, and so many of answers

Request = Callable[[], Coroutine[Any, Any, Any]]

INPUT: Final = {"source": "file:///in", "path": "/input/in"}
OUTPUT: Final = {"path": "/output", "destination": "file:///out/", "directory": True}


class People:
    """Everybody who uses the queue."""

    def __init__(self, world: World) -> None:
        self.world, self.timeline = world, world.timeline
        self.chance = world.timeline.random
        self.acknowledged: set[int] = set()
        self._bodies: dict[str, list[TaskSubmit]] = {}
        self._answered: set[str] = set()
        self._again: Counter[int] = Counter()  # requests under way to run tasks again

    # --- submitting

    def submit_all(self, tasks: int, seconds: float) -> None:
        """Submit everything, spread over so much time, each until it is acknowledged."""
        while tasks > 0:
            count = min(tasks, self.chance.choice([1, 1, 2, 10]))
            tasks -= count
            self.timeline.after(
                self.chance.uniform(0, seconds), self._submit, f"key-{tasks}", count
            )

    @property
    def waiting(self) -> bool:
        """Whether something was sent that has not been answered."""
        return len(self._answered) < len(self._bodies)

    def _submit(self, key: str, count: int) -> None:
        if key not in self._bodies:
            self._bodies[key] = [self._task() for _ in range(count)]
        if key not in self._answered:
            self._send(partial(self._ask, key, self._bodies[key]))
            self.timeline.after(ANSWER_SECONDS, self._submit, key, count)

    async def _ask(self, key: str, wanted: list[TaskSubmit]) -> None:
        submitted = await self.world.server.queue.submit_tasks(wanted, key, "hash")
        for task, spec in zip(submitted.ids, wanted, strict=True):
            self.world.lengths[task] = float(spec.tags["length"])
        if not self.timeline.chance(LOST):
            self._answered.add(key)
            self.acknowledged.update(submitted.ids)

    def _task(self) -> TaskSubmit:
        chance = self.chance
        steps = [{"command": "a", "ignore_error": chance.random() < 0.2}]
        if chance.random() < 0.1:
            steps.append({"command": "b"})
        fields: dict[str, Any] = {
            "steps": steps,
            "retries": chance.choice([0, 0, 1, 3]),
            "retry_delay": chance.choice([0.0, 0.0, 5.0]),
            "priority": chance.choice([0, 0, 0, 5]),
            "tags": {"length": str(chance.choice(LENGTHS))},
        }
        if chance.random() < 0.25:
            fields["mounts"] = [INPUT]
        if chance.random() < 0.25:
            fields["outputs"] = [OUTPUT]
        if chance.random() < 0.2:
            fields["timeouts"] = {"run": 30.0, "download": 5.0, "upload": 10.0}
        if chance.random() < 0.2:
            fields["request"] = {"cpus": chance.choice([1, 4])}
        if self.acknowledged and chance.random() < 0.15:
            fields["requirements"] = [chance.choice(sorted(self.acknowledged))]
            fields["run_when"] = chance.choice(list(RunWhen))
        return TaskSubmit.model_validate(fields)

    # --- acting

    def act(self) -> None:
        """Do one thing, to some task or worker."""
        acts = [self._cancel, self._retry, self._signal, self._tune, self._tune, self._hold]
        self.chance.choice(acts)()

    def _cancel(self) -> None:
        if self.acknowledged:
            self._send(partial(self._cancel_one, self.chance.choice(sorted(self.acknowledged))))

    async def _cancel_one(self, task: int) -> None:
        view = await self.world.server.queue.cancel_task(task)
        self.world.truth.tell(f"task {task} is cancelled, as attempt {view.attempt}")
        if not self._again[task]:
            self.world.truth.cancelled[task] = view.attempt

    def _retry(self) -> None:
        if self.acknowledged:
            task = self.chance.choice(sorted(self.acknowledged))
            self.world.truth.cancelled.pop(task, None)  # wanted again, whether or not it arrives
            self._again[task] += self._send(partial(self._retry_one, task))

    async def _retry_one(self, task: int) -> None:
        try:
            await self.world.server.queue.retry_task(task)
        finally:
            self._again[task] -= 1

    def _signal(self) -> None:
        """Pause something, and go on with it later."""
        running = [processes[-1] for processes in self.world.truth.alive.values() if processes]
        if running:
            one = self.chance.choice(running)
            self._order(one.task, one.attempt, Signal.PAUSE)
            later = self.chance.uniform(1, 20)
            self.timeline.after(later, self._order, one.task, one.attempt, Signal.RESUME)

    def resume_all(self) -> None:
        """Let everything that runs go on, whoever had paused it."""
        for processes in self.world.truth.alive.values():
            for one in processes:
                self._order(one.task, one.attempt, Signal.RESUME)

    def _order(self, task: int, attempt: int, signal: Signal) -> None:
        queue = self.world.server.queue
        self._send(partial(queue.signal_execution, task, attempt, SignalOrder(signal=signal)))

    def _tune(self) -> None:
        worker = self.chance.choice(self.world.workers)
        change: dict[str, Any] = {"concurrency": self.chance.randint(0, 5)}
        if self.chance.random() < 0.3:
            change = {"prefetch": self.chance.randint(0, 5)}
        elif self.chance.random() < 0.3:
            change = {"paused": True}
            self.timeline.after(self.chance.uniform(1, 30), self.tune, worker, {"paused": False})
        self.tune(worker, change)

    def tune(self, worker: Worker, change: dict[str, Any]) -> None:
        """Turn knobs of a worker."""
        if "concurrency" in change:
            worker.wishes.append(change["concurrency"])
        self.world.truth.tell(f"{worker.name} is tuned: {change}")
        body = WorkerUpdate.model_validate(change)
        worker.tuning += self._send(partial(self._tune_one, worker, body))

    async def _tune_one(self, worker: Worker, body: WorkerUpdate) -> None:
        try:
            await self.world.server.queue.update_worker(worker.name, body)
        finally:
            worker.tuning -= 1

    def _hold(self) -> None:
        self.hold(paused=True)
        self.timeline.after(self.chance.uniform(1, 20), self.hold, False)

    def hold(self, paused: bool) -> None:
        """Hold the batch back, or let it go on."""
        queue = self.world.server.queue
        self._send(partial(queue.update_batch, "default", BatchUpdate(paused=paused)))

    def _send(self, request: Request) -> bool:
        """Send a request; False when it gets lost, or nobody is there to answer."""
        loop = self.world.server.loop
        if loop.dead or self.timeline.chance(LOST):
            return False
        loop.spawn(_politely(request))
        return True


async def _politely(request: Request) -> None:
    with contextlib.suppress(PytqError):  # a clear answer is an answer
        await request()
