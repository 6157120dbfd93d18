"""The client of Dask: futures, in memory throughout. `map` is its bulk submit."""

import os

from distributed import Client, wait
from driver import Peer, serve, wait_until
from work import pass_gate, run_command


class Dask(Peer):
    """The scheduler tells the client of each end; results stay in the workers' memory."""

    def __init__(self):
        self.client = Client(os.environ["BENCH_DASK"])

    def submit(self, argv, count):
        return self.client.map(run_command, [argv] * count, pure=False)

    def submit_one(self, argv):
        return self.client.submit(run_command, argv, pure=False)

    def submit_gate(self, folder):
        return self.client.submit(pass_gate, str(folder), pure=False)

    def accepted(self, handles):
        # A submit returns before the scheduler has heard of it; what it hears keeps its order.
        last = handles[-1].key
        wait_until(lambda: self.client.run_on_scheduler(is_known, last), pause=0.001)

    def settle(self, handles):
        wait(handles)
        return self.client.gather(handles, errors="skip")


def is_known(key, dask_scheduler):
    """Whether the scheduler knows a task. Runs there."""
    return key in dask_scheduler.tasks


if __name__ == "__main__":
    serve(Dask())
