"""The sync library: recruiting, jobs, and why things are as they are."""

import time
from typing import Any

import pytest

from pytq.lib import PytqError, Server
from pytq.schema.recruit import JOB_ENDED, JobView


def end_of(server: Server, job: int) -> JobView:
    deadline = time.monotonic() + 60
    while (view := server.job_get(job)).status not in JOB_ENDED:
        assert time.monotonic() < deadline, server.job_log(job)
        time.sleep(0.05)
    return view


def test_workers_are_recruited_and_released(real: Any) -> None:
    """A script brings its own workers, has them work, and sends them away."""
    with Server(real.address) as server:
        assert [provider.name for provider in server.providers()] == ["local"]
        job = server.recruit(batch="mine", flavor="whole", concurrency=2)
        ended = end_of(server, job.id)
        [worker] = ended.workers
        assert f"{worker} is online" in server.job_log(job.id)
        assert [one.id for one in server.jobs()] == [job.id]

        good = server.task_create("true", batch="mine")
        bad = server.task_create("exit 4", batch="mine")
        assert server.join([good, bad]).done
        [failure] = server.batch_failures("mine")
        assert (failure.exit_code, failure.count, failure.task) == (4, 1, bad.id)
        assert "it succeeded" in server.task_explain(good).summary
        assert [one.id for one in server.tasks(worker=worker, search="exit 4")] == [bad.id]
        assert server.batch_signal("mine", "pause").count == 0

        released = server.worker_release(worker)
        assert end_of(server, released.id).status == "succeeded"
        assert server.workers() == []


def test_what_is_wrong_is_told(real: Any) -> None:
    """Refusals of the server and slips of the pen are errors that name the field."""
    with Server(real.address) as server:
        with pytest.raises(PytqError) as slip:
            server.recruit(flavour="big")
        assert slip.value.field == "flavour"
        with pytest.raises(PytqError) as refusal:
            server.recruit(provider="nobody")
        assert refusal.value.field == "provider"
        with pytest.raises(PytqError):
            server.batch_signal("nobody", "sleep")
        with pytest.raises(PytqError):
            server.job_cancel(1)
