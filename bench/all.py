"""Runs every part of the bench, or those named, one after the other, and puts RESULTS.md together.

.venv/bin/python bench/all.py                        # all of it, about an hour
.venv/bin/python bench/all.py containers staging     # only these; the others stay as they were
.venv/bin/python bench/all.py none                   # only put together what there is
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = {  # what it measures, and the program that prints it
    "queue": ("Tiny tasks, beside other queues", "run.py"),
    "containers": ("Containers, beside `docker run`", "containers.py"),
    "staging": ("S3, beside other tools", "staging.py"),
    "prefetch": ("Prefetch", "prefetch.py"),
    "tui": ("The cockpit", "tui.py"),
    "stream": ("What viewers cost the server", "stream.py"),
}


def main():
    """Measure what was asked for, then put all of it together."""
    wanted = sys.argv[1:] or list(PARTS)
    for name in wanted:
        if name != "none":
            measure(name)
    text = ["# What PYTQ costs\n\nWritten by `make bench`; do not edit.\n"]
    for name, (title, program) in PARTS.items():
        part = HERE / "results" / f"{name}.md"
        if part.exists():
            body = part.read_text()
            body = body.partition("\n")[2] if body.startswith("# ") else body
            body = f"\n{body.strip()}\n".replace("\n#", "\n##")
            text.append(f"## {title}\n\nBy `bench/{program}`.\n{body}")
    (HERE / "RESULTS.md").write_text("\n".join(text))


def measure(name):
    """Run one part; it keeps its former result when it fails."""
    _, program = PARTS[name]
    done = subprocess.run(
        [sys.executable, HERE / program], stdout=subprocess.PIPE, text=True, check=False
    )
    print(done.stdout)
    if done.returncode:
        raise SystemExit(f"bench/{program} ended with {done.returncode}")
    if name != "queue":  # that one writes its own
        (HERE / "results" / f"{name}.md").write_text(done.stdout)


if __name__ == "__main__":
    main()
