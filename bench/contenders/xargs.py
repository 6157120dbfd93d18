"""xargs -P4: the yardstick. No queue, no record beyond the exit code of xargs itself."""

import resource
import subprocess
import time

from contenders.base import Contender, RunResult


class Xargs(Contender):
    """Nothing is recorded, nothing is kept."""

    name = "xargs"
    title = "xargs -P4"
    durable = "nothing; outcomes are not recorded"

    def run(self, n):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        subprocess.run(f"seq {n} | xargs -P4 -n1 sh -c true", shell=True, check=True)
        seconds = time.perf_counter() - begin
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return RunResult(seconds, n / seconds, seconds, {"children": used / n})
