"""huey on SQLite, with its own defaults: WAL, synchronous=FULL."""

import os

from huey import SqliteHuey
from work import pass_gate, run_command

huey = SqliteHuey("bench", filename=os.environ["BENCH_HUEY_DB"], timeout=60)
command = huey.task()(run_command)
gate = huey.task()(pass_gate)
