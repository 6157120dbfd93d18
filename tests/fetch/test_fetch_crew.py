"""The threads that do short things."""

import asyncio
import threading

import pytest

from pytq.fetch.crew import Crew


async def test_results_and_errors_come_back() -> None:
    """Each of a thousand jobs is told its own result or error, by no more threads than allowed."""
    crew, seen = Crew(4, "crew-a"), set[str]()

    def work(number: int) -> int:
        seen.add(threading.current_thread().name)
        if number % 10 == 3:
            raise OSError(number, "no")
        return number

    jobs = [crew.do(lambda number=number: work(number)) for number in range(1_000)]  # type: ignore[misc]
    found = await asyncio.gather(*jobs, return_exceptions=True)
    crew.close()

    assert [one.errno if isinstance(one, OSError) else one for one in found] == list(range(1_000))
    assert sum(isinstance(one, OSError) for one in found) == 100
    assert len(seen) <= 4


async def test_one_that_takes_long_holds_up_no_other() -> None:
    """Short jobs come back while another waits."""
    crew, go_on = Crew(2, "crew-b"), threading.Event()
    long = crew.do(lambda: go_on.wait(20))
    short = [await asyncio.wait_for(crew.do(lambda: 7), 10) for _ in range(50)]
    waiting = long.done()
    go_on.set()

    assert short == [7] * 50
    assert not waiting
    assert await long
    crew.close()


async def test_its_threads_end() -> None:
    """After closing no thread stays, and what was not begun never is."""
    crew, go_on, begun = Crew(2, "crew-c"), threading.Barrier(3), list[int]()
    jobs = [crew.do(lambda: go_on.wait(20) + go_on.wait(20)) for _ in range(2)]
    await asyncio.to_thread(go_on.wait, 20)  # now both threads are at it
    late = crew.do(lambda: begun.append(1))
    crew.close()
    await asyncio.to_thread(go_on.wait, 20)
    await asyncio.gather(*jobs)
    for thread in threading.enumerate():
        if thread.name.startswith("crew-c"):
            await asyncio.to_thread(thread.join, 10)

    assert begun == []
    assert late.cancelled()
    assert not [one for one in threading.enumerate() if one.name.startswith("crew-c")]


async def test_nobody_waits_any_more() -> None:
    """A cancelled job's thread goes on, and its result disturbs nobody."""
    crew, go_on = Crew(1, "crew-d"), threading.Event()
    job = crew.do(lambda: go_on.wait(20))
    job.cancel()
    go_on.set()

    assert await crew.do(lambda: 8) == 8
    with pytest.raises(asyncio.CancelledError):
        await job
    crew.close()
