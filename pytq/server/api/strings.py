"""What arrives as strings: places in paths, queries, the Idempotency-Key header."""

import re
from typing import Any, Final, get_args, get_origin

from aiohttp import web
from multidict import MultiMapping
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from pytq.schema import limits
from pytq.schema.problems import InvalidError
from pytq.schema.text import Model
from pytq.server.api import explain

KEY_HEADER: Final = "Idempotency-Key"
KEY_PATTERN: Final = r"^[!-~]([ -~]*[!-~])?$"  # HTTP strips blanks at the ends

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_KEY: Final = re.compile(KEY_PATTERN)
_TRUTH: Final = {"true": True, "false": False}


class NoQuery(Model):
    """The query of an endpoint that takes none."""


class Strings:
    """Reads a model from strings: plain digits for integers, true or false for booleans."""

    def __init__(self, model: type[Model]) -> None:
        self._model = model
        self._adapter: TypeAdapter[Any] = TypeAdapter(model)
        self._kinds = {name: _kind(field.annotation) for name, field in model.model_fields.items()}

    def read(self, given: MultiMapping[str]) -> Any:
        """The model; what is not a list may be given once."""
        sent = {name: self._value(name, given.getall(name)) for name in given}
        try:
            return self._adapter.validate_json(to_json(sent))
        except ValidationError as error:
            raise explain.collected(explain.findings(error, sent), self._model) from None

    def _value(self, name: str, texts: list[str]) -> Any:
        listed, base = self._kinds.get(name, (False, str))
        if listed:
            return [_typed(text, base) for text in texts]
        if len(texts) > 1:
            raise InvalidError(f"`{name}` is given more than once", field=name)
        return _typed(texts[0], base)


def _kind(annotation: Any) -> tuple[bool, Any]:
    (base,) = explain.options(annotation)
    if get_origin(base) is list:
        (item,) = explain.options(get_args(base)[0])
        return True, item
    return False, base


def _typed(text: str, base: Any) -> Any:
    """The JSON value a string stands for; one that stands for none is left to be refused."""
    if base is int and _INTEGER.fullmatch(text):
        return int(text)
    if base is float and _NUMBER.fullmatch(text):
        return float(text)
    if base is bool:
        return _TRUTH.get(text, text)
    return text


def idempotency_key(request: web.Request) -> str | None:
    """The key under which a submit may be repeated without harm."""
    keys = request.headers.getall(KEY_HEADER, [])
    if not keys:
        return None
    if len(keys) > 1 or len(keys[0]) > limits.IDEMPOTENCY_KEY_CHARS or not _KEY.fullmatch(keys[0]):
        raise InvalidError(
            f"{KEY_HEADER} takes 1 to {limits.IDEMPOTENCY_KEY_CHARS} printable ASCII characters",
            field=KEY_HEADER,
        )
    return keys[0]
