"""The client of huey. It has no bulk enqueue: `submit` is a loop."""

from driver import Peer, serve, wait_until
from huey_app import command, gate, huey


class Huey(Peer):
    """Results are rows of its SQLite database; counting them disturbs nobody."""

    def __init__(self):
        self.open = 0

    def submit(self, argv, count):
        return [command(argv) for _ in range(count)]

    def submit_one(self, argv):
        return command(argv)

    def submit_gate(self, folder):
        return gate(str(folder))

    def settle(self, handles):
        if len(handles) == 1:
            return [handles[0].get(blocking=True, backoff=1, max_delay=0.005)]
        wait_until(lambda: huey.result_count() >= len(handles))
        return [handle.get() for handle in handles]  # which removes them


if __name__ == "__main__":
    serve(Huey())
