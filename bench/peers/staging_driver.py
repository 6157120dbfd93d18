"""One library doing one staging operation: `staging_driver.py NAME OPERATION HOME ENDPOINT`.

Prints the seconds and the CPU seconds that the operation took. Imports and the first request are
left out for everybody: a worker lives for weeks.
"""

import asyncio
import json
import os
import resource
import socket
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

AT_ONCE, RANGE, STREAMS = 32, 16 << 20, 4


def main():
    name, operation, home, endpoint = sys.argv[1:]
    home = Path(home)
    verb, size = operation.split()
    here = home / (f"out-{size}" if verb == "get" else size)
    prepared = {"pytq": pytq, "obstore": obstore, "aioboto3": aioboto3, "loopback": loopback}[name]
    prepared(Job(verb, size, here, f"{name}/{size}", endpoint, home))()
    sys.stdout.flush()
    os._exit(0)  # obstore ends the interpreter with SIGABRT now and then when it leaves politely


@contextmanager
def watch():
    before, begin = cpu(), time.perf_counter()
    yield
    print(json.dumps({"seconds": time.perf_counter() - begin, "cpu": cpu() - before}))


@dataclass
class Job:
    verb: str
    size: str
    here: Path
    key: str
    endpoint: str
    home: Path

    @property
    def what(self):
        return self.verb, self.size


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def pytq(job):
    from pytq.fetch import Fetcher

    folder = job.size == "small"
    uri = f"s3://bench/{job.key}" + ("/" if folder else "")

    async def work():
        async with Fetcher() as fetcher:
            await fetcher.get("s3://bench/warm", job.home / "warm")
            with watch():
                if job.verb == "get":
                    await fetcher.get(uri, job.here, directory=folder)
                else:
                    await fetcher.put(job.here, uri, directory=folder)

    return lambda: asyncio.run(work())


def obstore(job):
    """As it is best: big files in ranges side by side, small ones many at once."""
    import obstore as module
    from obstore.store import S3Store

    works = {
        ("put", "big"): obstore_put_big,
        ("get", "big"): obstore_get_big,
        ("put", "small"): obstore_put_small,
        ("get", "small"): obstore_get_small,
    }

    async def work():
        patient = {"allow_http": True, "timeout": "1h"}
        store = S3Store("bench", endpoint=job.endpoint, client_options=patient)
        await (await module.get_async(store, "warm")).bytes_async()
        with watch():
            await works[job.what](module, store, job)

    return lambda: asyncio.run(work())


async def obstore_put_big(module, store, job):
    await module.put_async(store, job.key, job.here, chunk_size=RANGE, max_concurrency=STREAMS)


async def obstore_get_big(module, store, job):
    total = (await module.head_async(store, job.key))["size"]
    loop = asyncio.get_running_loop()
    file = os.open(job.here, os.O_WRONLY | os.O_CREAT)

    async def one(position):
        end = min(position + RANGE, total)
        found = await module.get_async(store, job.key, options={"range": (position, end)})
        async for piece in found.stream(min_chunk_size=1 << 20):
            await loop.run_in_executor(None, os.pwrite, file, piece, position)
            position += len(piece)

    await side_by_side(one, range(0, total, RANGE), STREAMS)
    os.close(file)


async def obstore_put_small(module, store, job):
    async def put(place):
        await module.put_async(store, f"{job.key}/{place.name}", place)

    await side_by_side(put, sorted(job.here.iterdir()))


async def obstore_get_small(module, store, job):
    loop = asyncio.get_running_loop()
    job.here.mkdir()

    async def get(one):
        found = await (await module.get_async(store, one["path"])).bytes_async()
        await loop.run_in_executor(None, (job.here / Path(one["path"]).name).write_bytes, found)

    await side_by_side(get, await module.list(store, job.key).collect_async())


def aioboto3(job):
    """Its own transfer manager."""
    import aioboto3 as module

    async def work():
        async with module.Session().client("s3", endpoint_url=job.endpoint) as client:
            await client.download_file("bench", "warm", str(job.home / "warm"))
            with watch():
                if job.what == ("put", "big"):
                    await client.upload_file(str(job.here), "bench", job.key)
                elif job.what == ("get", "big"):
                    await client.download_file("bench", job.key, str(job.here))
                elif job.verb == "put":
                    await aioboto3_put_small(client, job)
                else:
                    await aioboto3_get_small(client, job)

    return lambda: asyncio.run(work())


async def aioboto3_put_small(client, job):
    async def put(place):
        await client.upload_file(str(place), "bench", f"{job.key}/{place.name}")

    await side_by_side(put, sorted(job.here.iterdir()))


async def aioboto3_get_small(client, job):
    job.here.mkdir()
    found = []
    pages = client.get_paginator("list_objects_v2")
    async for page in pages.paginate(Bucket="bench", Prefix=f"{job.key}/"):
        found += [one["Key"] for one in page["Contents"]]

    async def get(key):
        await client.download_file("bench", key, str(job.here / Path(key).name))

    await side_by_side(get, found)


async def side_by_side(work, things, at_once=AT_ONCE):
    left = iter(things)

    async def worker():
        for thing in left:
            await work(thing)

    await asyncio.gather(*(worker() for _ in range(at_once)))


def loopback(job):
    """A plain copy through a socket: what the machine could do at most."""
    home = job.home
    places = [home / "big"] if job.size == "big" else sorted((home / "small").iterdir())

    def serve(listening):
        while True:
            connection, _ = listening.accept()
            with connection, (home / connection.recv(4096).decode()).open("rb") as file:
                connection.sendfile(file)

    def copy(name, address):
        target = home / f"out-{name}"
        buffer = bytearray(1 << 20)
        with socket.create_connection(address) as connection, target.open("wb") as file:
            connection.sendall(name.encode())
            while found := connection.recv_into(buffer):
                file.write(memoryview(buffer)[:found])

    def work():
        listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        if job.size == "small":
            (home / "out-small").mkdir(exist_ok=True)
        with watch():
            for place in places:
                copy(str(place.relative_to(home)), listening.getsockname())

    return work


if __name__ == "__main__":
    main()
