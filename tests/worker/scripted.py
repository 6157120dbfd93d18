"""A server that follows a script: it speaks the link's frames and nothing else."""

import asyncio
import base64
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from pytq.schema import frames
from pytq.schema.frames import Ref
from pytq.schema.states import Outcome, Phase, Signal, Stream
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import WorkerSettings


class ScriptedServer:
    """Leases what it is given, up to the worker's capacity; remembers all it is told."""

    def __init__(self) -> None:
        self.settings = WorkerSettings(version=1, concurrency=2)
        self.lease_seconds = 60.0
        self.waiting: list[frames.Lease] = []
        self.leases: dict[Ref, frames.Lease] = {}
        self.open: dict[Ref, Phase] = {}
        self.ended: dict[Ref, frames.Ended] = {}
        self.told: list[frames.Ended] = []  # every time it was told
        self.output: dict[tuple[Ref, Stream], bytearray] = defaultdict(bytearray)
        self.hellos: list[frames.Hello] = []
        self.reports: list[frames.Report] = []
        self.settles = True
        self.turned: frames.Turned | None = None
        self.fenced: list[Ref] = []
        self.port = 0
        self._capacity = 0
        self._socket: web.WebSocketResponse | None = None
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Event()
        self._awake = asyncio.Event()
        self._awake.set()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/v1/link", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def fall_silent(self) -> None:
        """Break the connection and answer no other one, until `wake`: as behind a cut cable."""
        self._awake.clear()
        await self.hang_up()

    def wake(self) -> None:
        """Answer again, those too that have been waiting."""
        self._awake.set()

    async def hang_up(self) -> None:
        """Break the connection; the worker comes back by itself."""
        assert self._socket is not None
        await self._socket.close()

    def add(self, command: str | list[str] | None = None, **spec: Any) -> Ref:
        """Queue a task."""
        number = len(self.waiting) + len(self.open) + len(self.ended) + 1
        steps = spec.pop("steps", [{"command": command}])
        core = TaskSpec.model_validate({"steps": steps, **spec})
        self.waiting.append(frames.Lease(task=number, attempt=1, spec=core))
        return (number, 1)

    def add_json(self, spec: dict[str, Any]) -> Ref:
        """Queue a task given as JSON would give it."""
        number = len(self.waiting) + len(self.open) + len(self.ended) + 1
        core = TaskSpec.model_validate_json(json.dumps(spec))
        self.waiting.append(frames.Lease(task=number, attempt=1, spec=core))
        return (number, 1)

    async def order(self, **fields: Any) -> None:
        """Say something."""
        assert self._socket is not None
        await self._socket.send_str(frames.Orders(**fields).model_dump_json())

    async def signal(self, ref: Ref, signal: Signal) -> None:
        await self.order(signals=[frames.Order(task=ref[0], attempt=ref[1], signal=signal)])

    async def hand_out(self) -> None:
        """Lease what there is room for."""
        leases = []
        while self.waiting and len(self.open) < self._capacity:
            lease = self.waiting.pop(0)
            self.open[lease.task, lease.attempt] = Phase.ASSIGNED
            self.leases[lease.task, lease.attempt] = lease
            leases.append(lease)
        if leases:
            await self.order(leases=leases)

    async def until(self, what: Any, seconds: float = 10.0) -> Any:
        """Wait until something becomes true of what was told."""
        async with asyncio.timeout(seconds):
            while not (value := what()):
                self._changed.clear()
                await self._changed.wait()
        return value

    async def end_of(self, ref: Ref, seconds: float = 10.0) -> frames.Ended:
        """Wait until an execution has ended."""
        return await self.until(lambda: self.ended.get(ref), seconds)

    async def phase_of(self, ref: Ref, phase: Phase) -> None:
        """Wait until an execution is in a phase."""
        await self.until(lambda: self.open.get(ref) is phase)

    def text(self, ref: Ref, stream: Stream = Stream.STDOUT) -> str:
        """What an execution has written."""
        return self.output[ref, stream].decode()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        await self._awake.wait()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        hello = frames.from_worker.validate_json(await socket.receive_str())
        assert isinstance(hello, frames.Hello)
        self.hellos.append(hello)
        if self.turned:
            await socket.send_str(self.turned.model_dump_json())
            await socket.close()
            return socket
        self._socket = socket
        held = [(h.task, h.attempt) for h in hello.held]
        for ref in set(self.open) - set(held):
            del self.open[ref]  # lost on the way to the worker
            self.waiting.insert(0, self.leases[ref])
        welcome = frames.Welcome(
            protocol=frames.PROTOCOL,
            worker=1,
            settings=self.settings,
            lease_seconds=self.lease_seconds,
            keep=[ref for ref in held if ref not in self.fenced],
            fenced=self.fenced,
        )
        await socket.send_str(welcome.model_dump_json())
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            report = frames.from_worker.validate_json(message.data)
            assert isinstance(report, frames.Report)
            await self._take(report)
        return socket

    async def _take(self, report: frames.Report) -> None:
        self.reports.append(report)
        self._capacity = report.capacity
        for chunk in report.chunks:
            stream = self.output[(chunk.task, chunk.attempt), chunk.stream]
            data = base64.b64decode(chunk.data)
            stream.extend(bytes(max(0, chunk.offset - len(stream))))
            stream[chunk.offset : chunk.offset + len(data)] = data
        for progress in report.progress:
            self.open[progress.task, progress.attempt] = progress.phase
        settled = []
        for ended in report.ended:
            ref = (ended.task, ended.attempt)
            self.told.append(ended)
            if self.settles:
                settled.append(ref)
                self.open.pop(ref, None)
                self.ended[ref] = ended
        await self.order(answers=report.seq, settled=settled)
        await self.hand_out()
        self._changed.set()


def succeeded(ended: frames.Ended) -> bool:
    """Whether an execution ended well."""
    return ended.outcome is Outcome.SUCCEEDED


def leftovers(home: Path) -> list[str]:
    """What a worker that ended everything should not have left behind."""
    return [str(path) for path in home.glob("*.sock")]
