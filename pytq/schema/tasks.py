"""What a task is: steps over mounts, with outputs; and the sugar people submit it with.

`TaskSubmit` is what arrives; `TaskSpec` is the core that is stored and sent to workers.
`-i`, `-r` and `-o` are sugar: `core_of` turns them into mounts and outputs.
"""

from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from pytq.schema import limits, uris
from pytq.schema.states import RunWhen, Scope
from pytq.schema.text import (
    Arg,
    Checksum,
    Count,
    EnvName,
    EnvValue,
    Image,
    Label,
    Literal256K,
    Model,
    Name,
    Script,
    Seconds,
    TaskId,
    TaskPath,
    UriText,
)

INPUT: Final = "/input"
OUTPUT: Final = "/output"
RESOURCE: Final = "/resource"
TEMP: Final = "/tmp"  # noqa: S108 - the name a container sees, not a file of this machine
WORK: Final = "/work"
ROOMS: Final = (INPUT, OUTPUT, RESOURCE, TEMP, WORK)

Argv = Annotated[list[Arg], Field(min_length=1, max_length=limits.ARGS)]
Command = Argv | Script
Env = Annotated[dict[EnvName, EnvValue], Field(max_length=limits.ENV_VARS)]
Tags = Annotated[dict[Name, Label], Field(max_length=limits.TAGS)]
Uris = Annotated[list[UriText], Field(max_length=limits.MOUNTS)] | UriText
UserId = Annotated[int, Field(ge=0, le=limits.UID)]


class Step(Model):
    """One command. A list is run as it is, word by word; a string is given to `/bin/sh -c`."""

    command: Command
    container: Image | None = None
    container_options: Annotated[list[Arg], Field(max_length=limits.ARGS)] = Field(
        default_factory=list
    )
    workdir: TaskPath | None = None
    env: Env = Field(default_factory=dict)
    stdin: TaskPath | None = None
    stdout: TaskPath | None = None
    stderr: TaskPath | None = None
    ignore_error: bool = False

    @property
    def argv(self) -> list[str]:
        """The words to execute."""
        return ["/bin/sh", "-c", self.command] if isinstance(self.command, str) else self.command


class Mount(Model):
    """Something to be in place before the first step: fetched from a URI, or given literally."""

    source: UriText | None = None
    content: Literal256K | None = None
    path: TaskPath
    directory: bool = False
    scope: Scope = Scope.TASK
    read_only: bool = False
    actions: Annotated[list[Label], Field(max_length=10)] = Field(default_factory=list)
    size: Count | None = None
    checksum: Checksum | None = None

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if (self.source is None) == (self.content is None):
            raise ValueError("give either `source` or `content`")
        if self.content is not None and self.directory:
            raise ValueError("a literal `content` is a file, not a directory")
        if self.source is not None:
            uris.parse(self.source)
        return self


class Output(Model):
    """Something to be carried away after the last step: a file, or all below a directory."""

    path: TaskPath
    destination: UriText
    directory: bool = False

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        uri = uris.parse(self.destination)
        if uri.scheme not in uris.WRITABLE:
            writable = ", ".join(sorted(uris.WRITABLE))
            raise ValueError(f"nothing can be written to {uri.scheme}://; use one of {writable}")
        return self


class Timeouts(Model):
    """How long each phase may take, in seconds. None: as long as it needs."""

    model_config = ConfigDict(frozen=True)  # so that a default is shared, not copied, per task

    assign: Seconds | None = None  # from submit until a worker has it
    download: Seconds | None = None
    run: Seconds | None = None
    upload: Seconds | None = None


class Request(Model):
    """What a task needs of its worker. A worker never holds more than its machine has."""

    model_config = ConfigDict(frozen=True)  # so that a default is shared, not copied, per task

    cpus: Annotated[float, Field(ge=0, le=limits.CPUS)] = 0
    memory: Annotated[int, Field(ge=0, le=limits.MEMORY_BYTES)] = 0  # bytes
    disk: Annotated[int, Field(ge=0, le=limits.MEMORY_BYTES)] = 0  # bytes
    gpus: Annotated[int, Field(ge=0, le=limits.GPUS)] = 0


class TaskSpec(Model):
    """The core of a task: what a worker needs to run it."""

    steps: Annotated[list[Step], Field(min_length=1, max_length=limits.STEPS)]
    mounts: Annotated[list[Mount], Field(max_length=limits.MOUNTS)] = Field(default_factory=list)
    outputs: Annotated[list[Output], Field(max_length=limits.MOUNTS)] = Field(default_factory=list)
    timeouts: Timeouts = Timeouts()
    request: Request = Request()
    uid: UserId | None = None
    gid: UserId | None = None

    @property
    def needs_container(self) -> bool:
        """Whether only a worker with Docker can run it."""
        return any(step.container is not None for step in self.steps)


class TaskSubmit(Model):
    """A task as people and programs submit it.

    Give `command` (with `container`, `inputs`, `resources`, `output` as wanted) for the usual
    single command, or `steps` (with `mounts` and `outputs`) for full control.
    """

    name: Label | None = None
    batch: Name = "default"
    priority: Annotated[int, Field(ge=-limits.PRIORITY, le=limits.PRIORITY)] = 0
    retries: Annotated[int, Field(ge=0, le=limits.RETRIES)] = 0
    # Seconds before the first retry; each further one waits twice as long.
    retry_delay: Annotated[float, Field(ge=0, le=limits.RETRY_SECONDS)] = 0.0
    # After it ran out of memory, a retry asks for so many times as much.
    oom_factor: Annotated[float, Field(ge=1, le=limits.OOM_FACTOR)] = 1.0
    requirements: Annotated[list[TaskId], Field(max_length=limits.REQUIREMENTS)] = Field(
        default_factory=list
    )
    run_when: RunWhen = RunWhen.SUCCEEDED
    tags: Tags = Field(default_factory=dict)

    command: Command | None = None
    container: Image | None = None
    container_options: Annotated[list[Arg], Field(max_length=limits.ARGS)] = Field(
        default_factory=list
    )
    env: Env = Field(default_factory=dict)
    inputs: Uris = Field(default_factory=list)
    resources: Uris = Field(default_factory=list)
    output: UriText | None = None

    steps: Annotated[list[Step], Field(max_length=limits.STEPS)] = Field(default_factory=list)
    mounts: Annotated[list[Mount], Field(max_length=limits.MOUNTS)] = Field(default_factory=list)
    outputs: Annotated[list[Output], Field(max_length=limits.MOUNTS)] = Field(default_factory=list)

    timeouts: Timeouts = Timeouts()
    request: Request = Request()
    uid: UserId | None = None
    gid: UserId | None = None

    @model_validator(mode="after")
    def _says_what_to_run(self) -> Self:
        if (self.command is None) == (not self.steps):
            raise ValueError("give either `command` or `steps`")
        if self.steps and (self.container or self.container_options or self.env):
            raise ValueError("with `steps`, put `container`, `container_options` and `env` in them")
        if self.command is not None:
            _check_command(self.command)
        for step in self.steps:
            _check_command(step.command)
        return self


def _check_command(command: list[str] | str) -> None:
    words = [command] if isinstance(command, str) else command
    if not words[0].strip():
        raise ValueError("the first word of `command` is the program to run; it is empty")
    size = sum(map(len, words))
    if size > limits.COMMAND_BYTES or (
        size > limits.COMMAND_BYTES // 4  # four bytes a character at most
        and sum(len(word.encode()) for word in words) > limits.COMMAND_BYTES
    ):
        raise ValueError(
            f"`command` is longer than {limits.COMMAND_BYTES} bytes in all;"
            " put the text into a file (a mount with `content`) and run that"
        )


class SugarError(ValueError):
    """A short form that cannot be spelled out; `field` is where it stands."""

    def __init__(self, field: str, error: ValueError) -> None:
        text = str(error)
        if isinstance(error, ValidationError):
            text = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        super().__init__(text)
        self.field = field


def core_of(task: TaskSubmit) -> dict[str, Any]:
    """The core of a submitted task, sugar turned into mounts and outputs, as plain JSON values.

    The fields of a `TaskSpec`, those left at their defaults left out. Building the values rather
    than the model halves what a bulk submit costs. Raises `SugarError` for a URI that cannot be
    used, or two that collide.
    """
    core: dict[str, Any] = {"steps": [_plain(step) for step in task.steps] or [_only_step(task)]}
    mounts = [*task.mounts]
    mounts += _mounts("inputs", task.inputs, INPUT, Scope.TASK)
    mounts += _mounts("resources", task.resources, RESOURCE, Scope.WORKER)
    outputs = [*task.outputs]
    if task.output is not None:
        outputs.append(_output(task.output))
    if mounts:
        _refuse_collisions(mounts)
        core["mounts"] = [_plain(mount) for mount in mounts]
    if outputs:
        core["outputs"] = [_plain(output) for output in outputs]
    for field in ("timeouts", "request", "uid", "gid"):
        if field in task.model_fields_set:
            value = getattr(task, field)
            core[field] = _plain(value) if isinstance(value, Model) else value
    return core


def _only_step(task: TaskSubmit) -> dict[str, Any]:
    step: dict[str, Any] = {"command": task.command}
    for field in ("container", "container_options", "env"):
        value = getattr(task, field)
        if value:
            step[field] = value
    return step


def _plain(part: Model) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_defaults=True)


def _listed(given: list[str] | str) -> list[str]:
    return uris.parse_list(given) if isinstance(given, str) else given


def _mounts(field: str, given: list[str] | str, room: str, scope: Scope) -> list[Mount]:
    try:
        return [_mount(uri, room, scope) for uri in _listed(given)]
    except ValueError as error:
        raise SugarError(field, error) from error


def _output(destination: str) -> Output:
    try:
        return Output(path=OUTPUT, destination=destination, directory=True)
    except ValueError as error:
        raise SugarError("output", error) from error


def _mount(text: str, room: str, scope: Scope) -> Mount:
    uri = uris.parse(text)
    folder = next((action[3:] for action in uri.actions if action.startswith("mv:")), None)
    place = f"{room}/{folder}" if folder else room
    if not uri.is_folder:
        place = f"{place}/{uri.basename}"
    return Mount(
        source=text,
        path=place,
        directory=uri.is_folder,
        scope=scope,
        read_only=scope is Scope.WORKER,
    )


def _refuse_collisions(mounts: list[Mount]) -> None:
    if len(mounts) < 2:  # noqa: PLR2004 - it takes two
        return
    seen: dict[str, Mount] = {}
    for mount in mounts:
        other = seen.setdefault(mount.path, mount)
        if other is not mount and not (mount.directory and other.directory):
            clash = ValueError(
                f"two inputs would both be {mount.path}: {other.source} and {mount.source};"
                " put one into a folder of its own with |mv:FOLDER"
            )
            raise SugarError("inputs", clash)
