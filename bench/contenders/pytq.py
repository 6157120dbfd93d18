"""PYTQ on SQLite and on PostgreSQL, with an empty queue and with a deep one."""

import os
import signal
import urllib.request

import procs
import services

from contenders.base import WARM_TASKS, Client, Driven
from pytq import credentials
from pytq.schema import address

BATCH = "bench"
DEEP_BATCH = "deep"
HOST = "127.0.0.1"


class Pytq(Driven):
    """A server and one local worker of 4 slots, as shipped."""

    driver = "pytq_driver.py"
    bulk_is_a_loop = False
    ending = signal.SIGTERM
    durable = "the submit before its answer, every outcome before it shows: fsync per commit"

    def __init__(self, settings, database="sqlite"):
        super().__init__(settings)
        self.database = database
        self.name = f"pytq-{database}"
        self.title = f"PYTQ on {'SQLite' if database == 'sqlite' else 'PostgreSQL'}"
        self.postgres = None

    @property
    def python(self):
        return self.settings.python

    def boot(self):
        self.boot_database(self.room)
        self.boot_server(self.room / "data")
        self.boot_worker(BATCH)
        return self.client_env(BATCH)

    def boot_database(self, room):
        """A PostgreSQL cluster, when that is where the queue is kept."""
        if self.database != "postgres":
            return
        if self.postgres is None:
            self.postgres = services.Postgres(self.settings.postgres)
            self.postgres.create(room)
        self.services.append(self.postgres)
        self.postgres.start()

    def boot_server(self, data_dir):
        """The server, until it says that it is well."""
        self.port = procs.free_port()
        env = dict.fromkeys(("SQLALCHEMY_DATABASE_URI", "PYTQ_TOKEN"), "")
        if self.postgres:
            env["SQLALCHEMY_DATABASE_URI"] = self.postgres.uri
        argv = [self.settings.pytq, "server", "--host", HOST, "--port", self.port]
        server = self.launch("server", [*argv, "--data-dir", data_dir], env)
        services.wait_for(lambda: is_well(self.port), server)

    def boot_worker(self, batch):
        """One worker with 4 slots for a batch."""
        self.work_dir = self.room / f"work-{batch}"
        options = ["--batch", batch, "--work-dir", self.work_dir, "--name", batch, "--kill"]
        argv = [self.settings.pytq, "worker", f"{HOST}:{self.port}", 4, *options]
        self.launch("worker", argv)

    def client_env(self, batch, **extra):
        """What the client must know."""
        own = {"BENCH_PORT": str(self.port), "BENCH_BATCH": batch, "BENCH_TOKEN": self.token()}
        return {**os.environ, **own, **extra}

    def token(self):
        """What the server has left for its user's programs."""
        return credentials.token_for(address.parse(f"{HOST}:{self.port}"))

    def environment(self, extra):
        return {**os.environ, **(extra or {})}

    def processes(self):
        """The keeper, which outlives its agent on purpose, is found by its work directory."""
        roles = super().processes()
        keepers = self.keepers()
        pids = {keeper.pid for keeper in keepers}
        if "worker" in roles:
            roles["worker"] = [worker for worker in roles["worker"] if worker.pid not in pids]
            roles["keeper"] = keepers
        return roles

    def keepers(self):
        """The keepers of this contender's own work directories."""
        return procs.find("keeper", str(self.room))

    def stop(self):
        self.stop_worker()
        super().stop()
        self.postgres = None

    def stop_worker(self):
        """End the agent, and the keeper should it still be there."""
        keepers = self.keepers() if self.room else []
        self.end("worker")
        procs.end([keeper for keeper in keepers if keeper.is_running()])


class PytqDeep(Pytq):
    """The same with a million tasks queued already. Filled once, kept on disk between rounds.

    Twice measured: with the million in the *same* batch at a lower priority, so that every choice
    of what runs next is made above them; and with the million in *another* batch that is paused.
    """

    def __init__(self, settings, database="sqlite"):
        super().__init__(settings, database)
        self.name += "-deep"
        self.title += f", {settings.depth:,} queued"
        self.kept = None
        self.filled = {}
        self.visits = 0

    def prepare(self):
        self.kept = procs.make_room()
        self.room = procs.make_room()
        try:
            self.boot_database(self.kept)
            self.boot_server(self.kept / "data")
            self.client = Client(self.python, self.driver, self.room, self.client_env(DEEP_BATCH))
            self.client.order("fill", count=self.settings.depth)
            self.filled = self.memory()
        finally:
            self.stop()

    def dispose(self):
        if self.kept:
            procs.remove_room(self.kept)

    def stop(self):
        postgres = self.postgres
        super().stop()
        self.postgres = postgres  # the cluster stays on disk, to be started again

    def start(self):
        self.room = procs.make_room()
        self.boot_database(self.kept)
        self.boot_server(self.kept / "data")

    def enter(self, batch, **extra):
        """Let the one worker and the client serve a batch."""
        self.stop_worker()
        if self.client:
            self.client.stop()
        self.boot_worker(batch)
        self.client = Client(self.python, self.driver, self.room, self.client_env(batch, **extra))

    def run_same_batch(self, n):
        """Throughput with the million in the same batch, below."""
        self.enter(DEEP_BATCH, BENCH_DEEP="1")
        self.client.order("queue", count=WARM_TASKS)
        self.client.order("drain")
        self.client.order("queue", count=n)
        seconds = self.client.order("drain")["seconds"]
        return n / seconds

    def submit_rates(self):
        """In a batch of their own, which is paused and deleted afterwards."""
        self.visits += 1
        self.client.stop()
        env = self.client_env(f"rates-{self.visits}")
        self.client = Client(self.python, self.driver, self.room, env)
        self.client.order("fill", count=1)
        rates = {
            "single": self.client.order("rate_single", count=self.settings.single),
            "bulk": self.client.order("rate_bulk", count=self.settings.bulk // 5),
        }
        self.client.order("delete")
        return rates

    def run(self, n):
        """Throughput with the million in another batch; latency can be asked for afterwards."""
        self.enter(BATCH)
        self.client.order("warm", count=WARM_TASKS)
        return super().run(n)


def is_well(port):
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/healthz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
