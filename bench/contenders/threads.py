"""A thread pool in the client: the floor for anything that spawns from Python."""

from contenders.base import Driven


class Threads(Driven):
    """No queue, no server, no worker."""

    name = "threads"
    title = "Python threads, no queue"
    durable = "nothing"
    driver = "threads_driver.py"

    @property
    def python(self):
        return self.settings.python

    def submit_rates(self):
        return {}

    def boot(self):
        return self.environment({})
