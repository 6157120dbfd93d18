"""No queue at all: a pool of threads in the client. What Python itself costs, as a floor."""

from concurrent.futures import ThreadPoolExecutor

from driver import SLOTS, Peer, serve
from work import pass_gate, run_command


class Threads(Peer):
    """Nothing survives anything; nothing is sent anywhere."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(SLOTS)

    def submit(self, argv, count):
        return [self.pool.submit(run_command, argv) for _ in range(count)]

    def submit_one(self, argv):
        return self.pool.submit(run_command, argv)

    def submit_gate(self, folder):
        return self.pool.submit(pass_gate, folder)

    def settle(self, handles):
        return [handle.result() for handle in handles]


if __name__ == "__main__":
    serve(Threads())
