"""What people hand to the sync library, checked and turned into the schema's models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypedDict, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from pytq.schema import limits
from pytq.schema.problems import InvalidError
from pytq.schema.tasks import SugarError, TaskSubmit, core_of

M = TypeVar("M", bound=BaseModel)


class Numbered(Protocol):
    """Something with a task's number."""

    @property
    def id(self) -> int:
        """The number."""


TaskRef = int | Numbered

# The first PYTQ's words for what the API calls otherwise.
_OLD_WORDS: Final = {
    "input": "inputs",
    "resource": "resources",
    "retry": "retries",
    "required_task_ids": "requirements",
}
_TIMEOUTS: Final = {
    "assign_timeout": "assign",
    "download_timeout": "download",
    "run_timeout": "run",
    "upload_timeout": "upload",
}
_NEEDS: Final = frozenset({"cpus", "memory", "disk", "gpus"})


# Where pydantic's own words would not help.
_SENTENCES: Final = {
    "extra_forbidden": "there is no such field; look for a slip of the pen",
    "string_pattern_mismatch": "it holds characters that are not allowed here; a name takes"
    " letters, digits and _ . + @ -",
}


class TaskFields(TypedDict, total=False):
    """What `task_create` takes beside the command."""

    name: str | None
    batch: str
    container: str | None
    container_options: list[str]
    input: str | list[str]
    inputs: str | list[str]
    resource: str | list[str]
    resources: str | list[str]
    output: str | None
    retry: int
    retries: int
    required_task_ids: Sequence[TaskRef]
    requirements: Sequence[TaskRef]
    run_when: str
    env: dict[str, str]
    tags: dict[str, str]
    priority: int
    assign_timeout: float
    download_timeout: float
    run_timeout: float
    upload_timeout: float
    cpus: float
    memory: int
    disk: int
    gpus: int
    uid: int
    gid: int
    steps: list[dict[str, Any]]
    mounts: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


def id_of(task: TaskRef) -> int:
    """The number of a task, however it was named."""
    return task if isinstance(task, int) else task.id


@dataclass(frozen=True, slots=True)
class Wish:
    """A task to be created. What it requires may not have a number yet."""

    task: TaskSubmit
    requires: Sequence[TaskRef]

    def resolved(self) -> TaskSubmit:
        """The task with the numbers of what it requires; waits for those that have none."""
        if not self.requires:
            return self.task
        return self.task.model_copy(update={"requirements": [id_of(one) for one in self.requires]})


def wish_of(fields: dict[str, Any]) -> Wish:
    """A task as the API takes it, checked now: later there may be nobody to tell."""
    task: dict[str, Any] = {}
    requires: Sequence[TaskRef] = ()
    for given, value in fields.items():
        name = _OLD_WORDS.get(given, given)
        if name in _TIMEOUTS:
            task.setdefault("timeouts", {})[_TIMEOUTS[name]] = value
        elif name in _NEEDS:
            task.setdefault("request", {})[name] = value
        elif name == "requirements":
            requires = tuple(value)
            # Those that have no number yet are left out of the check.
            task[name] = [one for one in requires if not hasattr(type(one), "id")]
        else:
            task[name] = value
    submit = model_of(TaskSubmit, task)
    try:
        core_of(submit)
    except SugarError as error:
        raise InvalidError(f"{error.field}: {error}", field=error.field) from error
    return Wish(submit, requires)


def filter_of(kind: type[M], wanted: dict[str, Any]) -> M:
    """The filter that keyword arguments spell."""
    if isinstance(wanted.get("status"), str):
        wanted = {**wanted, "status": [wanted["status"]]}
    if "task" in wanted:
        wanted = {**wanted, "task": id_of(wanted["task"])}
    return model_of(kind, {"limit": limits.PAGE_MAX, **wanted})


def model_of(kind: type[M], fields: dict[str, Any]) -> M:
    """The model that keyword arguments spell; an `InvalidError` names the first wrong one."""
    try:
        # Through JSON, so that a word will do where the schema has an enum.
        return kind.model_validate_json(to_json(fields))
    except ValidationError as error:
        raise told(error) from error
    except (TypeError, ValueError) as error:  # not JSON at all
        raise InvalidError(str(error)) from error


def told(error: ValidationError) -> InvalidError:
    """The first thing that is wrong, as an error that names the field and says what to do."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = _SENTENCES.get(first["type"], first["msg"].removeprefix("Value error, "))
    return InvalidError(f"{field}: {message}" if field else message, field=field or None)
