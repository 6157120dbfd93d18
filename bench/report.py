"""The tables: medians over the rounds, and ratios taken within each round."""

from statistics import median

ROLES = ("server", "database", "worker", "keeper", "children", "client")
HEAD = """# What PYTQ costs, beside its peers

Written by `bench/run.py`; do not edit. How to run and read it: [README.md](README.md).
"""
MEANING = """## What is measured

* **tasks/s**: {n} tasks `sh -c true`, at most 4 at once on this machine. They are queued already,
  the workers are up and warm (each has run 1000 tasks), and the queue is held back (PYTQ: the
  batch is paused; peers: each of the 4 slots holds a task that waits for a FIFO). The clock runs
  from the release until the last outcome is recorded and the submitting client has seen it (huey
  and Celery are polled every 20 ms, Dask and PYTQ tell). Every outcome is checked.
  `xargs` just runs.
* **submit + run**: the same tasks with the workers free, from the first submit to the last outcome.
* **latency**: {samples} tasks a round, one at a time on an idle system, from the client's clock
  just before the submit to the clock that the task itself reads first (`date`, so it includes
  starting `sh` and `date`; "Python threads, no queue" is the floor of that). All rounds together.
* **CPU**: processor time per task while the held queue drains, in µs, by role. "children" is what
  the tasks themselves cost whoever reaped them.
* **ratio**: PYTQ's tasks/s divided by the peer's *of the same round*; the median of those, with the
  smallest and the largest. Above 1: PYTQ is faster. For latency, p50 of the peer divided by PYTQ's.
"""


def markdown(facts, settings, contenders, rounds, failures, minutes):
    """The whole page."""
    seen = [contender for contender in contenders if any(contender.name in r for r in rounds)]
    flat = [contender for contender in seen if not hasattr(contender, "run_same_batch")]
    deep = [contender for contender in seen if hasattr(contender, "run_same_batch")]
    parts = [HEAD, _facts(facts, len(rounds), minutes)]
    parts.append(MEANING.format(n=settings.n, samples=settings.samples))
    parts.append("## Throughput\n\n" + _throughput(flat, rounds))
    parts.append("## CPU per task, µs\n\n" + _cpu(seen, rounds))
    parts.append("## Latency from submit to start, ms\n\n" + _latency(flat, rounds))
    parts.append("## Submitting, tasks/s\n\n" + _submitting(flat, rounds))
    parts.append("## Memory after the run, MiB, RSS (PSS)\n\n" + _memory(seen, rounds))
    if deep:
        title = f"## With {settings.depth:,} tasks already queued\n\n"
        parts.append(title + _deep(deep, rounds))
    parts.append(_notes(seen, failures))
    return "\n".join(parts)


def one_line(contender, measures):
    """A line for the console."""
    run, latency = measures["run"], measures["latency"]
    words = [f"{contender.title}: {run.tasks_per_second:.0f} tasks/s"]
    if measures["same"]:
        words.append(f"{measures['same']:.0f} in the same batch")
    if latency:
        words.append(f"p50 {percentile(latency, 50) * 1e3:.1f} ms")
    words += [f"{kind} {rate:.0f}/s" for kind, rate in measures["rates"].items()]
    return ", ".join(words) + f"  ({measures['seconds']:.0f} s)"


def percentile(values, percent):
    """The value that `percent` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _facts(facts, rounds, minutes):
    lines = [f"* {name}: {value}" for name, value in facts.items()]
    return "\n".join([*lines, f"* rounds: {rounds}, interleaved, in {minutes:.0f} minutes"]) + "\n"


def _table(head, rows):
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join(["---", *["--:"] * (len(head) - 1)]) + "|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _of(contender, rounds, pick):
    """What `pick` finds in each round that has this contender; nothing where it finds None."""
    found = [pick(r[contender.name]) for r in rounds if contender.name in r]
    return [value for value in found if value is not None]


def _spread(values, form="{:.0f}"):
    if not values:
        return "-"
    low, middle, high = (form.format(v) for v in (min(values), median(values), max(values)))
    return f"{middle} ({low}-{high})"


def _ratios(ours, theirs, rounds, pick):
    """PYTQ against a peer, within each round."""
    both = [r for r in rounds if ours.name in r and theirs.name in r]
    pairs = [(pick(r[ours.name]), pick(r[theirs.name])) for r in both]
    return [mine / other for mine, other in pairs if mine and other]


def _pytqs(contenders):
    return [contender for contender in contenders if contender.name.startswith("pytq")]


def _against(contenders, contender, rounds, pick, *, less_is_better=False):
    """One cell per PYTQ: how it stands against this contender."""
    cells = []
    for ours in _pytqs(contenders):
        ratios = _ratios(ours, contender, rounds, pick)
        if less_is_better:
            ratios = [1 / ratio for ratio in ratios]
        cells.append("-" if ours is contender else _spread(ratios, "{:.2f}"))
    return cells


def _ratio_heads(contenders):
    return [f"{ours.title} ÷ it" for ours in _pytqs(contenders)]


def _speed(measures):
    return measures["run"].tasks_per_second


def _throughput(contenders, rounds):
    head = ["", "tasks/s (min-max)", *_ratio_heads(contenders), "submit + run, tasks/s"]
    rows = []
    for contender in contenders:
        runs = _of(contender, rounds, lambda m: m["run"])
        flows = [run.tasks_per_second * run.seconds / run.flow_seconds for run in runs]
        ratios = _against(contenders, contender, rounds, _speed)
        speeds = [run.tasks_per_second for run in runs]
        rows.append([contender.title, _spread(speeds), *ratios, _spread(flows)])
    return _table(head, rows)


def _cpu(contenders, rounds):
    rows = []
    for contender in contenders:
        costs = _of(contender, rounds, lambda m: m["run"].cpu_per_task)
        cells = [_micros([cost.get(role) for cost in costs]) for role in ROLES]
        total = _micros([sum(cost.values()) for cost in costs])
        rows.append([contender.title, *cells, f"**{total}**"])
    return _table(["", *ROLES, "all"], rows)


def _micros(values):
    known = [value for value in values if value is not None]
    return f"{median(known) * 1e6:.0f}" if known else "-"


def _latency(contenders, rounds):
    contenders = [c for c in contenders if any(_of(c, rounds, lambda m: m["latency"] or None))]
    heads = [f"p50 of it ÷ {ours.title}" for ours in _pytqs(contenders)]
    rows = []
    for contender in contenders:
        pooled = [value for one in _of(contender, rounds, lambda m: m["latency"]) for value in one]
        cells = [f"{percentile(pooled, percent) * 1e3:.1f}" for percent in (50, 99, 100)]
        ratios = _against(contenders, contender, rounds, _p50, less_is_better=True)
        rows.append([contender.title, *cells, *ratios])
    return _table(["", "p50", "p99", "max", *heads], rows)


def _p50(measures):
    return percentile(measures["latency"], 50) if measures["latency"] else None


def _submitting(contenders, rounds):
    rows = []
    for contender in contenders:
        rates = _of(contender, rounds, lambda m: m["rates"] or None)
        if rates:
            loop = " (a loop)" if contender.bulk_is_a_loop else ""
            single, bulk = ([rate[kind] for rate in rates] for kind in ("single", "bulk"))
            rows.append([contender.title, _spread(single), _spread(bulk) + loop])
    return _table(["", "one by one", "in bulk"], rows)


def _memory(contenders, rounds):
    rows = []
    roles = [role for role in ROLES if role != "children"]
    for contender in contenders:
        found = _of(contender, rounds, lambda m: m["memory"] or None)
        if found:
            cells = [_mib([one[role] for one in found if role in one]) for role in roles]
            rows.append([contender.title, *cells])
    return _table(["", *roles], rows)


def _mib(values):
    if not values:
        return "-"
    rss, pss = (median(value[kind] for value in values) / 2**20 for kind in ("rss", "pss"))
    count = values[-1]["processes"]
    many = f" in {count}" if count > 1 else ""
    return f"{rss:.0f} ({pss:.0f}){many}"


def _deep(contenders, rounds):
    head = ["", "same batch, below: tasks/s", "÷ empty queue", "other batch, paused: tasks/s"]
    head += ["÷ empty queue", "p50 ms", "p99 ms", "submit one by one", "in bulk", "starts in, s"]
    rows = []
    for contender in contenders:
        pooled = [value for one in _of(contender, rounds, lambda m: m["latency"]) for value in one]
        rows.append(
            [
                contender.title,
                _spread(_of(contender, rounds, lambda m: m["same"])),
                _spread(_share(contender, rounds, lambda m: m["same"]), "{:.2f}"),
                _spread(_of(contender, rounds, _speed)),
                _spread(_share(contender, rounds, _speed), "{:.2f}"),
                f"{percentile(pooled, 50) * 1e3:.1f}",
                f"{percentile(pooled, 99) * 1e3:.1f}",
                *(_spread(_of(contender, rounds, _rate(kind))) for kind in ("single", "bulk")),
                _spread(_of(contender, rounds, lambda m: m["start_seconds"]), "{:.1f}"),
            ]
        )
    filled = [f"* {c.title}: {_filled(c)}" for c in contenders]
    note = "The server's memory right after taking them, MiB RSS (PSS):\n\n" + "\n".join(filled)
    return _table(head, rows) + "\n" + note + "\n"


def _rate(kind):
    return lambda measures: measures["rates"][kind]


def _filled(contender):
    return ", ".join(f"{role} {_mib([found])}" for role, found in contender.filled.items())


def _share(contender, rounds, pick):
    """The deep queue's speed as a share of the empty one's, within each round."""
    flat = contender.name.removesuffix("-deep")
    both = [r for r in rounds if flat in r and contender.name in r]
    return [pick(r[contender.name]) / _speed(r[flat]) for r in both]


def _notes(contenders, failures):
    listed = [c for c in contenders if not hasattr(c, "run_same_batch")] or contenders
    safe = "\n".join(f"* {c.title}: {c.durable}." for c in listed)
    text = f"## What the numbers do not show\n\nWhat is safe, and when:\n\n{safe}\n{NOTES}"
    if failures:
        text += "\n**Failures in this run:**\n\n" + "\n".join(f"* {f}" for f in failures) + "\n"
    return text


NOTES = """
Also:

* Peers were set up in their favour: of huey's and Dask's ways to work the faster one here was
  taken; huey polls every 10 ms (its default: 100 ms, growing), Celery and Dask have a few tasks
  in their workers' hands before the clock starts, a paused batch of PYTQ has none.
* Dask and Celery have no outcome on disk at any time; huey and PYTQ pay for fsync, PYTQ once for
  many tasks at a time. PYTQ also captures each task's output and survives the loss of its worker,
  its keeper or its server at any moment; the peers throw the output away here.
* huey and Celery have no bulk submit: theirs is a loop.
* In the deep table's "same batch", the worker goes on with the million as soon as the measured
  tasks have all been handed out, which costs PYTQ a little; latency there would be that of a busy
  system, so it is measured with the million in another batch.
* The deep queue is filled, and the server and its PostgreSQL are stopped at once and started again
  for each round: as on the day that somebody queues a million, autovacuum may not have counted
  them yet when the first of them are chosen from.
* Server, workers and client share the machine's cores.
"""
