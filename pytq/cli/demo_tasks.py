"""What the demo runs: a real pipeline over Python's own library, and some failures on purpose."""

import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytq.cli import demo_summary
from pytq.schema.states import Cause, TaskStatus
from pytq.schema.tasks import Mount, TaskSubmit

BATCH: Final = "default"
EXIT_CODE: Final = 3
_SKIPPED: Final = frozenset({"site-packages", "dist-packages", "test", "tests", "__pycache__"})
# $1 is the input's own name, $2 the result's.
_STEPS: Final = {
    "gz": 'gzip -9 -n < "$INPUT/$1" > "$OUTPUT/$2.gz"',
    "sha256": 'sha256sum < "$INPUT/$1" > "$OUTPUT/$2.sha256"',
    "wc": 'wc -l -w -c < "$INPUT/$1" > "$OUTPUT/$2.wc"',
}


@dataclass(frozen=True, slots=True)
class Intention:
    """A task, and what is to become of it."""

    task: TaskSubmit
    status: TaskStatus = TaskStatus.SUCCEEDED
    cause: Cause | None = None
    exit_code: int | None = 0
    wanted: str = ""


def sources(amount: int) -> list[Path]:
    """Files of Python's own library: the modules first, then what lies in packages."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    found = sorted(stdlib.glob("*.py")) + [
        path for path in sorted(stdlib.glob("*/*.py")) if path.parent.name not in _SKIPPED
    ]
    return found[:amount]


def pipeline(files: Sequence[Path], results: Path) -> list[Intention]:
    """Three tasks for each file: pack it, take its checksum, count its lines and words."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    return [
        Intention(_step(path, ".".join(path.relative_to(stdlib).parts), kind, script, results))
        for path in files
        for kind, script in _STEPS.items()
    ]


def _step(path: Path, name: str, kind: str, script: str, results: Path) -> TaskSubmit:
    return TaskSubmit(
        name=f"{kind} {name}",
        batch=BATCH,
        command=["sh", "-c", script, kind, path.name, name],
        inputs=[f"file://{path}"],
        output=f"file://{results}/{kind}/",
        tags={"step": kind},
    )


def failures() -> list[Intention]:
    """Tasks that fail, each in its own way."""
    missing = Path(sysconfig.get_path("stdlib")) / "no_such_module.py"
    shell = ["sh", "-c"]
    return [
        Intention(
            TaskSubmit(name="missing input", command=["cat"], inputs=[f"file://{missing}"]),
            *(TaskStatus.FAILED, Cause.INPUT, None, "its input does not exist"),
        ),
        Intention(
            TaskSubmit(
                name="exit 3",
                command=[*shell, f"echo 'the licence has expired' >&2; exit {EXIT_CODE}"],
            ),
            *(TaskStatus.FAILED, Cause.EXIT, EXIT_CODE, "its command returns 3"),
        ),
        Intention(
            TaskSubmit(name="command not found", command=["no-such-program-anywhere"]),
            *(TaskStatus.FAILED, Cause.COMMAND, None, "its program does not exist"),
        ),
        Intention(
            TaskSubmit(
                name="ended by a signal",
                command=[*shell, "echo 'about to fall' >&2; kill -USR1 $$"],
            ),
            *(TaskStatus.FAILED, Cause.SIGNAL, None, "a signal ends its command"),
        ),
    ]


def dependant(failed: int) -> Intention:
    """A task that waits for one that fails."""
    return Intention(
        TaskSubmit(name="after exit 3", command=["true"], requirements=[failed]),
        *(TaskStatus.FAILED, Cause.REQUIREMENT, None, "what it requires fails"),
    )


def summary(requirements: list[int], results: Path) -> Intention:
    """The task that reads what all the good ones have made."""
    script = Path(demo_summary.__file__).read_text()
    return Intention(
        TaskSubmit(
            name="summary",
            command=[
                *("sh", "-c", '"$1" "$INPUT/summary.py" "$INPUT" "$OUTPUT"'),
                *("summary", sys.executable),
            ],
            inputs=[f"file://{results}/{kind}/|mv:{kind}" for kind in _STEPS],
            mounts=[Mount(content=script, path="/input/summary.py")],
            output=f"file://{results}/summary/",
            requirements=requirements,
        )
    )


def clean(results: Path) -> None:
    """Make room for the results; takes away an earlier demo's own files and nothing else."""
    for kind in _STEPS:
        (results / kind).mkdir(parents=True, exist_ok=True)
        for old in (results / kind).glob(f"*.{kind}"):
            old.unlink()
    (results / "summary").mkdir(exist_ok=True)
