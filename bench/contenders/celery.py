"""Celery on Redis."""

import services

from contenders.base import Driven


class Celery(Driven):
    """Prefork pool of 4, its own defaults otherwise."""

    name = "celery"
    title = "Celery + Redis (prefork)"
    durable = "nothing: Redis keeps queue and results in memory here (no AOF, no snapshots)"
    driver = "celery_driver.py"

    def boot(self):
        redis = services.Redis(self.settings.redis)
        self.services.append(redis)
        redis.start(self.room)
        where = {"BENCH_REDIS": redis.url}
        options = ["--pool", "prefork", "--concurrency", 4, "--loglevel", "WARNING"]
        argv = [self.python, "-m", "celery", "-A", "celery_app", "worker", *options]
        self.launch("worker", argv, where)
        return self.environment(where)
