"""The client of Celery. It has no bulk enqueue either: a group is a loop inside the library."""

import json

import redis
from celery import group
from celery_app import REDIS, app, command, gate
from driver import Peer, serve, wait_until


class Celery(Peer):
    """Results are the only keys of their Redis database: DBSIZE counts them in no time."""

    def __init__(self):
        self.results = redis.Redis.from_url(f"{REDIS}/1")

    def submit(self, argv, count):
        return group(command.s(argv) for _ in range(count)).apply_async().results

    def submit_one(self, argv):
        return command.apply_async((argv,))

    def submit_gate(self, folder):
        return gate.apply_async((str(folder),))

    def settle(self, handles):
        if len(handles) == 1:
            codes = [handles[0].get()]
            handles[0].forget()
            return codes
        keys = [app.backend.get_key_for_task(handle.id) for handle in handles]
        wait_until(lambda: self.results.dbsize() >= len(keys))
        found = [json.loads(value) for value in self.results.mget(keys) if value]
        self.results.delete(*keys)
        return [result["result"] if result["status"] == "SUCCESS" else 1 for result in found]


if __name__ == "__main__":
    serve(Celery())
