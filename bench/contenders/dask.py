"""Dask's distributed scheduler."""

import procs
import services

from contenders.base import Driven


class Dask(Driven):
    """One worker process of 4 threads, or 4 processes of one."""

    name = "dask"
    durable = "nothing: queue and results are in memory, for as long as the client lives"
    driver = "dask_driver.py"
    bulk_is_a_loop = False

    def __init__(self, settings, kind="threads"):
        super().__init__(settings)
        self.kind = kind
        self.title = f"Dask ({'1 process of 4 threads' if kind == 'threads' else '4 processes'})"

    def boot(self):
        address = f"tcp://127.0.0.1:{procs.free_port()}"
        dask = [self.python, "-m", "dask"]
        port = address.rsplit(":", 1)[1]
        scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", port]
        server = self.launch("server", [*scheduler, "--no-dashboard", "--no-show"])
        services.wait_for_port(int(port), server)
        threads = 4 if self.kind == "threads" else 1
        options = ["--nthreads", threads, "--no-nanny", "--no-dashboard"]
        for _ in range(4 // threads):
            self.launch("worker", [*dask, "worker", address, *options])
        return self.environment({"BENCH_DASK": address})
