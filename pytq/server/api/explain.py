"""What is wrong with a request, in sentences a person can act on.

Pydantic tells more than people want to read: every branch of a union, and inner names such as
`function-after[...]`. Here its findings are laid over what was really sent, so that only places
that exist in the request remain, and only the branch that the sender meant.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pytq.schema import text
from pytq.schema.problems import FieldError
from pytq.server.api.errors import InvalidRequestError

SHOWN: Final = 20
# More than are shown, because the branches of a union are told one by one; bounded all the same.
READ: Final = 200

# What other queues call the same thing.
ALIASES: Final = {
    "args": "command",
    "cmd": "command",
    "depends_on": "requirements",
    "docker": "container",
    "environment": "env",
    "image": "container",
    "input": "inputs",
    "max_retries": "retries",
    "queue": "batch",
    "resource": "resources",
}

# What was wanted, by pydantic's word for not getting it.
WANTED: Final = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "a list",
    "model_type": "an object",
    "string_type": "a string",
}

PATTERNS: Final = {
    text.NAME_PATTERN: "takes letters, digits and _ . + @ -, and begins with a letter or a digit",
    text.LABEL_PATTERN: "takes no control, invisible or direction-changing characters",
    text.NO_NUL_PATTERN: "takes no NUL character",
    text.ENV_NAME_PATTERN: "takes letters, digits and _, and does not begin with a digit",
    text.IMAGE_PATTERN: "is no image name such as ubuntu:24.04 or registry.example/team/tool:1.2",
    text.CHECKSUM_PATTERN: "is no checksum such as md5:… or sha256:…, in lower-case hexadecimal",
}

_SUBJECT: Final = re.compile(r"^(?:Input|String|List|Dictionary|Value|Number) should ")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at a place that exists in what was sent."""

    path: Path
    kind: str
    message: str
    context: dict[str, Any]

    @property
    def field(self) -> str:
        """Where, as `3.inputs.0`."""
        return ".".join(map(str, self.path))

    def sentence(self) -> str:
        """What, as a sentence."""
        name = f"`{self.field}`" if self.path else "the request"
        if self.kind in WANTED:
            return f"{name} should be {self.message}"
        if self.kind == "missing":
            return f"{name} is missing"
        if self.kind == "extra_forbidden":
            return f"there is no field {name}"
        if self.kind == "value_error":
            said = str(self.context["error"])
            return f"{name} {said}" if said.startswith("must ") else said
        if self.kind == "string_pattern_mismatch" and self.context["pattern"] in PATTERNS:
            return f"{name} {PATTERNS[self.context['pattern']]}"
        return _SUBJECT.sub(f"{name} should ", self.message)


def invalid(
    error: ValidationError, sent: Any, shape: Any, prefix: Path = ()
) -> InvalidRequestError:
    """Pydantic's error about `sent`, which should have had the shape of a model or type."""
    found = findings(error, sent, prefix)
    return collected(found, shape, len(prefix))


def collected(found: list[Finding], shape: Any, skip: int = 0) -> InvalidRequestError:
    """One error out of several findings; `skip` parts of their paths are above `shape`."""
    first = found[0]
    errors = [FieldError(field=each.field, message=each.sentence()) for each in found[:SHOWN]]
    return InvalidRequestError(
        first.sentence(), errors, field=first.field or None, cure=_cure(first, shape, skip)
    )


def findings(error: ValidationError, sent: Any, prefix: Path = ()) -> list[Finding]:
    """What pydantic found, without the branches of unions that the sender did not mean."""
    raw = [
        Finding(
            prefix + _real_path(each["loc"], each["type"], sent),
            each["type"],
            WANTED.get(each["type"], each["msg"]),
            each.get("ctx", {}),
        )
        for each in error.errors(include_url=False, include_input=False)[:READ]
    ]
    return list(_one_branch(raw))


def _real_path(loc: Path, kind: str, sent: Any) -> Path:
    path: list[str | int] = []
    here = sent
    for part in loc:
        if isinstance(here, dict):
            there = part in here
        else:
            there = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if there:
            path.append(part)
            here = here[part]
    if kind == "missing":
        path.append(loc[-1])
    return tuple(path)


def _one_branch(raw: list[Finding]) -> Iterator[Finding]:
    """Drop "should be a list" where a list's items, or a string's length, are what is wrong."""
    meant = {each.path for each in raw if each.kind not in WANTED}
    inside = {each.path[:length] for each in raw for length in range(len(each.path))}
    told: set[Path] = set()
    for each in raw:
        if each.kind not in WANTED:
            yield each
        elif each.path not in meant | inside | told:
            told.add(each.path)
            wanted = {o.message: None for o in raw if o.kind in WANTED and o.path == each.path}
            yield Finding(each.path, each.kind, " or ".join(wanted), {})


def _cure(finding: Finding, shape: Any, skip: int) -> str | None:
    if finding.kind != "extra_forbidden":
        return None
    path = finding.path[skip:]
    known = sorted({name for model in _models(shape, path[:-1]) for name in model.model_fields})
    return did_you_mean(str(path[-1]), known)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, as a question; all of them when none is close."""
    choices = {name: name for name in known}
    aliases = {other: name for other, name in ALIASES.items() if name in choices}
    if not choices:
        return None
    close = get_close_matches(word[:100].lower(), [*choices, *aliases], n=1)
    if close:
        return f"did you mean `{(choices | aliases)[close[0]]}`?"
    return "there are " + ", ".join(f"`{name}`" for name in choices)


def _models(shape: Any, path: Path) -> Iterator[type[BaseModel]]:
    """The models that may stand at a path below a type."""
    for option in options(shape):
        if isinstance(option, type) and issubclass(option, BaseModel):
            if not path:
                yield option
            elif path[0] in option.model_fields:
                yield from _models(option.model_fields[str(path[0])].annotation, path[1:])
        elif get_origin(option) in (list, dict) and path:
            yield from _models(get_args(option)[-1], path[1:])


def options(shape: Any) -> Iterator[Any]:
    """The alternatives of a type, without what is annotated to them; None is no alternative."""
    if get_origin(shape) is Annotated:
        yield from options(get_args(shape)[0])
    elif get_origin(shape) in (Union, UnionType):
        for each in get_args(shape):
            yield from options(each)
    elif shape is not type(None):
        yield shape
