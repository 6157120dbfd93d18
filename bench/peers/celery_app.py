"""Celery on Redis: one database for the broker, one for the results."""

import os

from celery import Celery
from work import pass_gate, run_command

REDIS = os.environ["BENCH_REDIS"]

app = Celery("bench", broker=f"{REDIS}/0", backend=f"{REDIS}/1")
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
command = app.task(name="command")(run_command)
gate = app.task(name="gate", ignore_result=True)(pass_gate)
