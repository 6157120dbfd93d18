"""Measures PYTQ against its peers, in interleaved rounds, by ratio. Writes results/queue.md."""

import argparse
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import machine
import report
import services
import setup
from contenders import Celery, Dask, Huey, Pytq, PytqDeep, Threads, Xargs
from contenders.base import Settings

RESULTS = Path(__file__).resolve().parent / "results" / "queue.md"
CALIBRATION_TASKS = 400
KINDS = ("xargs", "threads", "huey", "celery", "dask", "pytq-sqlite", "pytq-postgres")
DEEP = ("pytq-sqlite-deep", "pytq-postgres-deep")
QUICK = {"n": 200, "samples": 30, "single": 100, "bulk": 10_000, "loop": 200, "depth": 50_000}


def main():
    """Prepare, measure round by round, report."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse(sys.argv[1:])
    names = wanted(options)
    settings = choose_settings(options, names)
    facts = machine.describe(settings)
    begin = time.monotonic()
    contenders = [make(name, settings) for name in names]
    rounds, failures = measure_all(contenders, options.rounds)
    minutes = (time.monotonic() - begin) / 60
    text = report.markdown(facts, settings, contenders, rounds, failures, minutes)
    print(f"\n{text}\nafter {minutes:.1f} minutes, for {options.out}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    return 1 if failures else 0


def parse(argv):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="interleaved rounds (5; 2 with --quick)")
    parser.add_argument("--n", type=int, help="tasks a run (2000)")
    parser.add_argument("--depth", type=int, help="tasks already queued (1000000)")
    parser.add_argument("--only", help=f"comma-separated: {', '.join(KINDS + DEEP)}")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    parser.add_argument("--no-deep", action="store_true", help="nothing with a deep queue")
    parser.add_argument("--no-postgres", action="store_true", help="SQLite only")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the table goes")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (2 if options.quick else 5)
    return options


def wanted(options):
    """The names of the contenders, in the order of a round."""
    names = options.only.split(",") if options.only else [*KINDS, *DEEP]
    if unknown := set(names) - set(KINDS + DEEP):
        sys.exit(f"bench: unknown: {', '.join(sorted(unknown))}")
    if options.no_deep:
        names = [name for name in names if name not in DEEP]
    if options.no_postgres:
        names = [name for name in names if "postgres" not in name]
    return names


def choose_settings(options, names):
    """What to run, and with which programs; installs the peers that take part."""
    sizes = dict(QUICK) if options.quick else {}
    sizes |= {name: getattr(options, name) for name in ("n", "depth") if getattr(options, name)}
    if {"huey", "celery", "dask"} & set(names):
        sizes["peer_python"] = setup.peer_python()
    if "celery" in names:
        sizes["redis"] = setup.redis_binary()
    if any("postgres" in name for name in names):
        sizes["postgres"] = services.find_postgres()
        if sizes["postgres"] is None:
            sys.exit("bench: there is no PostgreSQL here; install it, or use --no-postgres")
    return Settings(**sizes)


def make(name, settings):
    """A contender by name. Where a peer can work in two ways, the one that is faster here."""
    if name == "huey":
        return faster(Huey(settings, "thread"), Huey(settings, "process"))
    if name == "dask":
        return faster(Dask(settings, "threads"), Dask(settings, "processes"))
    if name.startswith("pytq"):
        kind = PytqDeep if name in DEEP else Pytq
        return kind(settings, name.split("-")[1])
    return {"xargs": Xargs, "threads": Threads, "celery": Celery}[name](settings)


def faster(*variants):
    """Try each twice, in turns, and take the one that was the fastest."""
    speeds = dict.fromkeys(variants, 0.0)
    for variant in variants * 2:
        try:
            variant.start()
            run = variant.run(min(CALIBRATION_TASKS, variant.settings.n))
            speeds[variant] = max(speeds[variant], run.tasks_per_second)
        except Exception:  # should it fail again in the rounds, it is reported there
            traceback.print_exc()
        finally:
            variant.stop()
        print(f"trying {variant.title}: {speeds[variant]:.0f} tasks/s", flush=True)
    return max(variants, key=speeds.get)


def measure_all(contenders, count):
    """Every round of every contender: a list of {name: measures}, and what went wrong."""
    rounds, failures = [], []
    try:
        for contender in contenders:
            attempt(contender, "prepare", contender.prepare, failures)
        for number in range(count):
            turn = number % len(contenders)  # who begins changes, so that drift hits everybody
            found = {}
            for contender in contenders[turn:] + contenders[:turn]:
                label = f"round {number + 1}"
                measures = attempt(contender, label, lambda c=contender: measure(c), failures)
                if measures:
                    found[contender.name] = measures
                    print(f"{label}/{count} {report.one_line(contender, measures)}", flush=True)
            rounds.append(found)
    finally:
        for contender in contenders:
            contender.dispose()
    return rounds, failures


def attempt(contender, label, act, failures):
    """One contender's trouble must not end the others' run; it is reported."""
    try:
        return act()
    except Exception as error:
        traceback.print_exc()
        reason = str(error).strip().splitlines()
        failures.append(f"{contender.title}, {label}: {reason[-1] if reason else error!r}")
        return None


def measure(contender):
    """Everything that is measured of one contender in one round."""
    settings = contender.settings
    begin = time.monotonic()
    try:
        contender.start()
        start_seconds = time.monotonic() - begin
        same = (
            contender.run_same_batch(settings.n) if hasattr(contender, "run_same_batch") else None
        )
        run = contender.run(settings.n)
        memory = contender.memory()
        latency = contender.latency(settings.samples)
        rates = contender.submit_rates()
    except Exception:
        print(contender.logs(), file=sys.stderr)
        raise
    finally:
        contender.stop()
    return {
        "start_seconds": start_seconds,
        "run": run,
        "same": same,
        "memory": memory,
        "latency": latency,
        "rates": rates,
        "seconds": time.monotonic() - begin,
    }


if __name__ == "__main__":
    sys.exit(main())
