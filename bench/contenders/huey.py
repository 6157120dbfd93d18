"""huey on SQLite."""

from contenders.base import Driven

POLL_SECONDS = 0.01  # its own default is 0.1, growing to 10
CONSUMER = "from huey.bin.huey_consumer import consumer_main; consumer_main()"


class Huey(Driven):
    """Its consumer polls the database; a short poll is set, in its favour."""

    name = "huey"
    driver = "huey_driver.py"
    durable = "the submit (WAL, synchronous=FULL); but a task taken is lost in a crash"

    def __init__(self, settings, kind="thread"):
        super().__init__(settings)
        self.kind = kind
        self.title = f"huey on SQLite ({kind} workers)"

    def boot(self):
        where = {"BENCH_HUEY_DB": str(self.room / "huey.db")}
        poll = ["-d", POLL_SECONDS, "-m", POLL_SECONDS, "-b", "1"]
        options = ["-w", 4, "-k", self.kind, *poll, "-n", "-q"]
        self.launch("worker", [self.python, "-c", CONSUMER, "huey_app.huey", *options], where)
        return self.environment(where)
