"""The server is killed while people submit: nothing that was acknowledged may be missing."""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
from system import System, running

SUBMITS = 1000


async def submit_through_a_crash(system: System) -> dict[str, int]:
    """Submit concurrently, kill -9 and restart the server in the middle, repeat what got no answer.

    Returns the ids by name; asserts that an answer given before the crash is given again.
    """
    answered: dict[str, int] = {}
    url = f"http://{system.address}/api/v1/tasks"
    async with aiohttp.ClientSession() as session:

        async def submit(number: int) -> None:
            name = f"n{number}"
            body = {"command": ["true"], "name": name}
            headers = {**system.headers(), "Idempotency-Key": name}
            try:
                async with session.post(url, json=body, headers=headers) as reply:
                    assert reply.status == 201, await reply.text()
                    [one] = (await reply.json())["ids"]
            except (aiohttp.ClientError, OSError):
                return
            assert answered.setdefault(name, one) == one

        async def crash() -> None:
            while len(answered) < SUBMITS // 4:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.001)
            await asyncio.to_thread(system.kill_server)

        await asyncio.gather(crash(), *(submit(number) for number in range(SUBMITS)))
        before = dict(answered)
        assert SUBMITS // 4 <= len(before) < SUBMITS, "the crash came too late to mean anything"
        await asyncio.to_thread(system.start_server)
        await asyncio.gather(*(submit(number) for number in range(SUBMITS)))
    assert len(answered) == SUBMITS
    return answered


async def every_task(system: System) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    after = ""
    async with aiohttp.ClientSession() as session:
        while True:
            url = f"http://{system.address}/api/v1/tasks?limit=1000{after}"
            async with session.get(url, headers=system.headers()) as reply:
                page = await reply.json()
            found += page["items"]
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"


async def test_kill_during_a_thousand_submits(database_uri: str, tmp_path: Path) -> None:
    """Every 201 is there after kill -9, none twice, and work goes on after the restart."""
    with running(tmp_path, database_uri) as system:
        answered = await submit_through_a_crash(system)
        there = await every_task(system)
        assert Counter(view["name"] for view in there) == Counter(answered.keys())
        assert {view["name"]: view["id"] for view in there} == answered

        system.start_worker()
        async with aiohttp.ClientSession() as session:
            body = {"ids": sorted(answered.values()), "timeout": 25.0}
            for _ in range(3):
                url = f"http://{system.address}/api/v1/tasks/wait"
                async with session.post(url, json=body, headers=system.headers()) as reply:
                    standing = await reply.json()
                if standing["done"]:
                    break
        assert {k: len(v) for k, v in standing["statuses"].items()} == {"succeeded": SUBMITS}
