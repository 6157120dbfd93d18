"""Strings and numbers from outside: each passes here once and is trusted afterwards.

Patterns are written so that Rust's regex engine, ECMAScript (the OpenAPI page) and Python's `re`
read them alike.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from pytq.schema import limits

# Control, bidi, zero-width and line-separator characters: they fake what an operator sees.
_UNPRINTABLE: Final = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb"
)

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.+@-]*$"
LABEL_PATTERN: Final = rf"^[^{_UNPRINTABLE}]+$"
NO_NUL_PATTERN: Final = r"^[^\u0000]*$"
ENV_NAME_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
IMAGE_PATTERN: Final = (
    r"^(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$"
)
CHECKSUM_PATTERN: Final = r"^(?:md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$"


class Model(BaseModel):
    """The base of every shared model: strict types, no unknown fields, no NaN."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null"
    )


def _has_a_path(value: str) -> str:
    parts = value.split("/")
    if ".." in parts or "." in parts or "" in parts[1:-1]:
        raise ValueError("must be a plain absolute path, without '.', '..' or '//' in it")
    return value


# A batch or a worker: something people type, and programs put into paths and labels.
Name = Annotated[
    str, StringConstraints(pattern=NAME_PATTERN, min_length=1, max_length=limits.NAME_CHARS)
]
# Any printable text of one line, in any script: a task's name, a tag.
Label = Annotated[
    str, StringConstraints(pattern=LABEL_PATTERN, min_length=1, max_length=limits.NAME_CHARS)
]
# One word of a command line: every byte but NUL is kept as it is.
Arg = Annotated[
    str,
    StringConstraints(pattern=NO_NUL_PATTERN, max_length=limits.COMMAND_BYTES),
]
Script = Annotated[
    str,
    StringConstraints(pattern=NO_NUL_PATTERN, min_length=1, max_length=limits.COMMAND_BYTES),
]
Literal256K = Annotated[
    str, StringConstraints(pattern=NO_NUL_PATTERN, max_length=limits.LITERAL_BYTES)
]
EnvName = Annotated[str, StringConstraints(pattern=ENV_NAME_PATTERN, max_length=limits.NAME_CHARS)]
EnvValue = Annotated[
    str, StringConstraints(pattern=NO_NUL_PATTERN, max_length=limits.ENV_VALUE_BYTES)
]
Image = Annotated[str, StringConstraints(pattern=IMAGE_PATTERN, max_length=500)]
Checksum = Annotated[str, StringConstraints(pattern=CHECKSUM_PATTERN)]
# A path as the task sees it: /input/…, /output/…, /resource/…, /tmp/…, /work/… or, in a
# container, any other absolute path.
TaskPath = Annotated[
    str,
    StringConstraints(pattern=rf"^/[^{_UNPRINTABLE}]*$", max_length=limits.PATH_CHARS),
    AfterValidator(_has_a_path),
]
UriText = Annotated[
    str, StringConstraints(pattern=LABEL_PATTERN, min_length=1, max_length=limits.URI_CHARS)
]
# A sentence for people; never parsed.
Sentence = Annotated[str, StringConstraints(pattern=NO_NUL_PATTERN, max_length=limits.TEXT_CHARS)]

TaskId = Annotated[int, Field(ge=1, le=limits.ID_MAX)]
Attempt = Annotated[int, Field(ge=1, le=limits.ID_MAX)]
Count = Annotated[int, Field(ge=0, le=limits.ID_MAX)]
Seconds = Annotated[float, Field(gt=0, le=limits.TIMEOUT_SECONDS)]
