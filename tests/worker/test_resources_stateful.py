"""The resource cache under every order of events that hypothesis can think of."""

import asyncio
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pytq.fetch import Progress
from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Scope
from pytq.schema.tasks import Mount
from pytq.worker.staging import StagingError, shelf
from pytq.worker.staging.actions import Plan, plan
from pytq.worker.staging.gauge import Gauge
from pytq.worker.staging.resources import Resources, key_of, kind_of
from pytq.worker.staging.shelf import Shelf

URIS = [f"s3://bucket/{name}" for name in "abc"]
MOUNTS = {uri: Mount(source=uri, path=f"/resource/{uri[-1]}", scope=Scope.WORKER) for uri in URIS}
KEYS = {uri: key_of(kind_of(plan(mount), mount)) for uri, mount in MOUNTS.items()}


class AtOnce(ThreadPoolExecutor):
    """Threads that are through before they have begun: every step of the loop is the test's."""

    def submit(self, fn: Any, /, *args: Any, **more: Any) -> Any:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **more))
        except BaseException as error:  # noqa: BLE001 - as a pool does
            future.set_exception(error)
        return future


@dataclass(eq=False)
class Wish:
    """A task that wants a resource."""

    ref: Ref
    uri: str
    place: Path
    task: "asyncio.Task[list[Path]]"
    unwanted: bool = False


class Cache(RuleBasedStateMachine):
    """One worker's resources, and tasks that come, wait, are cancelled, end, and do harm."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(AtOnce())
        self.home = Path(tempfile.mkdtemp(prefix="pytq-resources-"))
        self.clock = count(1.0)
        self.numbers = count(1)
        self.lost: list[asyncio.Task[Any]] = []
        self.fetches: dict[str, asyncio.Future[None]] = {}
        self.fetched = 0
        self.wishes: list[Wish] = []
        self.using: list[Wish] = []
        self.begin()

    def begin(self) -> None:
        self.shelf = Shelf(self.home / "resources")
        self.resources = Resources(self.shelf, self.fetch, clock=lambda: next(self.clock))
        self.run(self.resources.open())

    def run(self, work: Any) -> Any:
        done = self.loop.run_until_complete(work)
        self.settle()
        return done

    def settle(self) -> None:
        for _ in range(60):
            self.loop.run_until_complete(asyncio.sleep(0))

    async def fetch(self, todo: Plan, _mount: Mount, place: Path, _progress: Progress) -> None:
        uri = str(todo.source)
        assert uri not in self.fetches, "fetched twice at once"
        assert KEYS[uri] not in self.resources.entries, "fetched what is there"
        self.fetched += 1
        place.write_bytes(b"half")  # noqa: ASYNC240 - no disk here is slow
        self.fetches[uri] = self.loop.create_future()
        try:
            await self.fetches[uri]
        finally:
            del self.fetches[uri]
        place.write_bytes(f"whole {uri}".encode())  # noqa: ASYNC240 - no disk here is slow

    @rule(uri=st.sampled_from(URIS))
    def want(self, uri: str) -> None:
        number = next(self.numbers)
        mount, place = MOUNTS[uri], self.home / "rooms" / str(number)
        ref = (number, 1)
        work = self.resources.supply(ref, plan(mount), mount, place, Gauge("in"))
        self.wishes.append(Wish(ref, uri, place, self.loop.create_task(work)))
        self.settle()

    @precondition(lambda self: self.fetches)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        self.fetches[data.draw(st.sampled_from(sorted(self.fetches)))].set_result(None)
        self.settle()

    @rule()
    def arrive_all(self) -> None:
        for fetch in self.fetches.values():
            fetch.set_result(None)
        self.settle()

    @precondition(lambda self: self.fetches)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        uri = data.draw(st.sampled_from(sorted(self.fetches)))
        self.fetches[uri].set_exception(StagingError(uri, Cause.INPUT))
        self.settle()
        assert not any(wish.uri == uri and not wish.task.done() for wish in self.wishes)

    @precondition(lambda self: self.wishes)
    @rule(data=st.data(), several=st.integers(1, 3), newcomer=st.booleans())
    def cancel(self, data: st.DataObject, several: int, newcomer: bool) -> None:
        before = dict(self.fetches)
        chosen = data.draw(st.lists(st.sampled_from(self.wishes), max_size=several, unique=True))
        stay = {wish.uri for wish in self.wishes if wish not in chosen}
        for wish in chosen:
            wish.unwanted = True
            wish.task.cancel()
        if newcomer and chosen:
            self.want(chosen[0].uri)
        self.settle()
        for uri in stay:
            assert self.fetches[uri] is before[uri], "begun anew though somebody waited"

    @precondition(lambda self: self.using)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        wish = data.draw(st.sampled_from(self.using))
        self.using.remove(wish)
        self.run(self.resources.leave(wish.ref))
        entry = self.resources.entries.get(KEYS[wish.uri])
        assert entry is None or shelf.intact(entry), "left spoilt"

    @rule(uri=st.sampled_from(URIS))
    def come_and_go(self, uri: str) -> None:
        """A whole life, so that what is kept for nobody is not a rare thing."""
        self.want(uri)
        if uri in self.fetches:
            self.fetches[uri].set_result(None)
            self.settle()
        self.believable()
        self.end_all()

    @rule()
    def end_all(self) -> None:
        for wish in self.using:
            self.run(self.resources.leave(wish.ref))
        self.using.clear()

    @precondition(lambda self: self.resources.entries)
    @rule(data=st.data(), through_the_link=st.booleans())
    def tamper(self, data: st.DataObject, through_the_link: bool) -> None:
        entries = list(self.resources.entries.values())
        entry = data.draw(st.sampled_from(entries))
        if not through_the_link or not (entry.place / "content").exists():
            (entry.place / "content").unlink(missing_ok=True)
            return
        (entry.place / "content").chmod(0o644)
        (entry.place / "content").write_bytes(b"evil")
        self.using = [wish for wish in self.using if wish.uri != entry.kind.uri]  # they see it too

    @rule(needed=st.integers(1, 60))
    def evict(self, needed: int) -> None:
        before = dict(self.resources.entries)
        freed = self.run(self.resources.evict(needed))
        gone = [entry for key, entry in before.items() if key not in self.resources.entries]
        assert freed == sum(entry.bytes for entry in gone)
        for entry in gone:
            assert not self.resources.pinned(entry.kind.uri)
            assert not any(KEYS[wish.uri] == entry.key for wish in self.using)
            older = [e for e in self.resources.entries.values() if e.used < entry.used]
            assert all(
                e.key in self.resources.users or e.kind.uri in self.resources.pins for e in older
            )

    @rule(uri=st.sampled_from(URIS), pinned=st.booleans())
    def pin(self, uri: str, pinned: bool) -> None:
        self.run(self.resources.pin(uri, pinned=pinned))

    @rule(wanted=st.sets(st.sampled_from(URIS)))
    def clean(self, wanted: set[str]) -> None:
        self.run(self.resources.clean(wanted))

    @rule()
    def kill(self) -> None:
        """The agent dies at this very moment; the next one takes over its running tasks."""
        self.lost += [wish.task for wish in self.wishes if not wish.task.done()]
        self.lost += [making.task for making in self.resources.making.values()]
        self.wishes.clear()
        self.fetches.clear()
        whole, pins = dict(self.resources.entries), self.resources.pins
        self.begin()
        assert self.resources.pins == pins
        assert self.resources.entries.keys() == whole.keys()
        for wish in self.using:
            self.resources.claim(wish.ref, KEYS[wish.uri])

    @invariant()
    def believable(self) -> None:
        for wish in [wish for wish in self.wishes if wish.task.done()]:
            self.wishes.remove(wish)
            assert wish.unwanted or not wish.task.cancelled(), "cancelled by others"
            if wish.task.cancelled() or wish.task.exception() is not None:
                self.run(self.resources.leave(wish.ref))
            else:
                self.using.append(wish)
        waiting = {wish.uri for wish in self.wishes}
        assert waiting == set(self.fetches), "somebody waits for nothing, or nobody for something"
        assert {making.kind.uri for making in self.resources.making.values()} == waiting
        for wish in self.using:
            assert wish.place.read_bytes() == f"whole {wish.uri}".encode()
        folders = {place for place in self.shelf.folder.iterdir() if "." in place.name}
        folders = {place for place in folders if place.is_dir()}
        assert folders == {entry.place for entry in self.resources.entries.values()}
        assert len(list(self.shelf.making.iterdir())) == len(self.fetches)
        assert not list(self.shelf.trash.iterdir())

    def teardown(self) -> None:
        for task in [*self.lost, *(wish.task for wish in self.wishes)]:
            task.cancel()
        self.settle()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.home)


TestCache = Cache.TestCase
TestCache.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
