"""Steps without a container: their environment and where their paths lead."""

# /tmp is a name that tasks see, not a folder of this machine.
# ruff: noqa: S108

from pathlib import Path

import pytest

from pytq.schema.tasks import TaskSpec
from pytq.worker.rooms import Room, Rooms
from pytq.worker.runners.process import CannotRun, Machine, environment, locate, order


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Rooms(tmp_path).take()


def test_the_environment_is_exactly_this(room: Room) -> None:
    """A task finds these variables, and none of the worker's."""
    env = environment(room, (17, 2), ("2", "1024"), "/bin", None)

    assert env.pop("HOME")
    assert env.pop("USER")
    assert env == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "CPU": "2",
        "MEM": "1024",
        "INPUT": f"{room.path}/input",
        "OUTPUT": f"{room.path}/output",
        "RESOURCE": f"{room.path}/resource",
        "TEMP": f"{room.path}/tmp",
        "TMPDIR": f"{room.path}/tmp",
        "PYTQ_TASK": "17",
        "PYTQ_ATTEMPT": "2",
    }


@pytest.mark.parametrize(
    ("concurrency", "share"), [(0, ("20", "4096")), (6, ("3", "682")), (40, ("1", "102"))]
)
def test_a_task_is_told_its_share(concurrency: int, share: tuple[str, str]) -> None:
    """CPU and MEM are the machine's, divided by the tasks at once, rounded down."""
    assert Machine(20, 4096 * 2**20, "").share(concurrency) == share


def spec(**step: object) -> TaskSpec:
    return TaskSpec.model_validate({"steps": [{"command": ["true"], **step}]})


def test_paths_of_a_step_lead_into_its_room(room: Room) -> None:
    """Working directory, stdin, stdout and stderr are the task's own folders."""
    task = spec(workdir="/work/deep/er", stdin="/input/x", stdout="/output/logs/o", stderr="/tmp/e")

    wanted = order(task, task.steps[0], room, {})

    assert wanted["cwd"] == f"{room.path}/work/deep/er"
    assert Path(wanted["cwd"]).is_dir()
    assert wanted["stdin"] == f"{room.path}/input/x"
    assert wanted["stdout"] == f"{room.path}/output/logs/o"
    assert wanted["stderr"] == f"{room.path}/tmp/e"


@pytest.mark.parametrize("path", ["/etc/passwd", "/data/x", "/", "/inputs/x"])
def test_other_paths_need_a_container(room: Room, path: str) -> None:
    """A path outside a task's folders is refused, by name."""
    with pytest.raises(CannotRun, match=path):
        locate(room, path)


def test_a_planted_link_does_not_lead_out(room: Room, tmp_path: Path) -> None:
    """A link that an earlier step left cannot make the next one's files land elsewhere."""
    Path(room.work, "out").symlink_to(tmp_path)
    Path(room.path, "output").rmdir()
    Path(room.path, "output").symlink_to("/etc")

    with pytest.raises(CannotRun, match="leads out"):
        locate(room, "/work/out/file")
    with pytest.raises(CannotRun, match="leads out"):
        locate(room, "/output/passwd")


def test_a_container_is_refused_in_words(room: Room) -> None:
    """A worker without Docker says so."""
    task = spec(container="ubuntu:24.04")

    with pytest.raises(CannotRun, match=r"Docker.*ubuntu:24\.04"):
        order(task, task.steps[0], room, {})
