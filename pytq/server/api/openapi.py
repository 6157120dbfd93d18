"""The OpenAPI 3.1 description, generated from the declared endpoints and their models."""

import json
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pytq import __version__
from pytq.schema import access, limits
from pytq.schema.endpoints import ENDPOINTS, PREFIX, Endpoint
from pytq.schema.problems import Problem
from pytq.schema.text import Model
from pytq.server.api.examples import EXAMPLES
from pytq.server.api.strings import KEY_HEADER, KEY_PATTERN

JSON: Final = "application/json"
TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"
TAGS: Final = {
    "tasks": "What is to be run",
    "executions": "The tries of tasks on workers",
    "batches": "Groups of tasks and of workers",
    "workers": "The machines' agents, tuned live",
    "recruiting": "Where workers come from, and the server's own long acts",
    "events": "What happened",
    "server": "The server itself",
    "access": "Who may do what",
}
MEANINGS: Final = {
    400: "The request cannot be read",
    401: "No token was shown, or none that is known here",
    403: "The token's role is too small; or a strange host name, or another web site's page",
    404: "There is no such thing",
    408: "The body did not arrive in time",
    409: "The thing is not in a state that allows this",
    413: "The body is larger than the server takes",
    415: "The body is compressed or not marked as JSON",
    422: "A value is wrong; `field` tells which",
    429: "Too many requests; Retry-After tells how long to wait",
    503: "The database cannot be reached just now; nothing was changed",
    507: "The server's disk is full; nothing was changed",
}
SCHEMES: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "pytq_…",
        "description": "Made with `pytq token create NAME`. On the server's own machine,"
        " `pytq token open` opens this page logged in.",
    }
}
PARAMETERS: Final = ("place", "query")
ALWAYS: Final = (400, 403, 422, 429, 503)
WITH_TOKEN: Final = (401,)
WITH_BODY: Final = (408, 413, 415)
ON_CHANGE: Final = (507,)

# A role that a type plays: an endpoint's name, and place, query, body or answer.
Role = tuple[str, str]
Schemas = dict[Role, JsonSchemaValue]


class _ExactKeys(GenerateJsonSchema):
    """Says of a dict what its keys must be; by itself pydantic lets any other key pass."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - its signature
        """No: a title made from a field's name only repeats it."""
        return False

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """An object whose keys and values both have a schema."""
        exact = super().dict_schema(schema)
        exact.pop("patternProperties", None)
        exact["propertyNames"] = self.generate_inner(schema["keys_schema"])
        exact["additionalProperties"] = self.generate_inner(schema["values_schema"])
        return exact


@cache
def document() -> bytes:
    """The description as JSON."""
    return json.dumps(description(), ensure_ascii=False, separators=(",", ":")).encode()


def description() -> dict[str, Any]:
    """The description as a dictionary."""
    schemas, definitions = _schemas()
    paths: dict[str, Any] = {}
    for name, endpoint in ENDPOINTS.items():
        operation = _operation(name, endpoint, schemas)
        paths.setdefault(PREFIX + endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PYTQ",
            "version": __version__,
            "summary": "A task queue for science teams",
            "description": "For people there is a cockpit, in the terminal (`pytq tui`) and"
            " [in the browser](/ui/).",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {"schemas": definitions, "securitySchemes": SCHEMES},
        "security": [{"token": []}],
    }


def _schemas() -> tuple[Schemas, dict[str, JsonSchemaValue]]:
    by_role, shared = TypeAdapter.json_schemas(
        list(_roles()), ref_template="#/components/schemas/{model}", schema_generator=_ExactKeys
    )
    schemas = {role: schema for (role, _), schema in by_role.items()}
    # Places and queries are told parameter by parameter; as objects they would only be noise.
    spread = {schema.get("$ref") for (_, role), schema in schemas.items() if role in PARAMETERS}
    definitions = {
        name: schema
        for name, schema in shared["$defs"].items()
        if f"#/components/schemas/{name}" not in spread
    }
    return schemas, definitions


def _roles() -> Iterator[tuple[Role, Literal["validation", "serialization"], TypeAdapter[Any]]]:
    for name, endpoint in ENDPOINTS.items():
        for role in (*PARAMETERS, "body"):
            if (shape := getattr(endpoint, role)) is not None:
                yield (name, role), "validation", TypeAdapter(shape)
        if endpoint.answer is not None:
            yield (name, "answer"), "serialization", TypeAdapter(endpoint.answer)
    yield ("", "problem"), "serialization", TypeAdapter(Problem)


def _operation(name: str, endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": _whom(endpoint),
        "parameters": _parameters(endpoint),
        "responses": _responses(name, endpoint, schemas),
    }
    if endpoint.role is None:
        operation["security"] = []
    if endpoint.body is not None:
        media = {"schema": schemas[name, "body"]}
        if name in EXAMPLES:
            media["examples"] = EXAMPLES[name]
        operation["requestBody"] = {"required": True, "content": {JSON: media}}
    return operation


def _whom(endpoint: Endpoint) -> str:
    if endpoint.role is None:
        return "Everybody may ask this."
    if endpoint.role is access.Role.SUBMITTER and endpoint.place:
        return "A submitter may do this to their own tasks, an operator to any."
    return f"Needs the role {endpoint.role}."


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found = _fields(endpoint.place, "path") + _fields(endpoint.query, "query")
    if endpoint.idempotent_by_key:
        found.append(
            {
                "name": KEY_HEADER,
                "in": "header",
                "description": "The same key and body again change nothing: safe to repeat",
                "schema": {
                    "type": "string",
                    "pattern": KEY_PATTERN,
                    "maxLength": limits.IDEMPOTENCY_KEY_CHARS,
                },
            }
        )
    return found


def _fields(model: type[Model] | None, where: str) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema(
        ref_template="#/components/schemas/{model}", schema_generator=_ExactKeys
    )
    return [_parameter(name, field, where) for name, field in schema["properties"].items()]


def _parameter(name: str, field: JsonSchemaValue, where: str) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": where, "schema": _given(field)}
    if where == "path":
        parameter["required"] = True
    elif parameter["schema"].get("type") == "array":
        parameter |= {"style": "form", "explode": True}
    return parameter


def _given(field: JsonSchemaValue) -> JsonSchemaValue:
    """A parameter is given or left out; it is never null, and its title only repeats its name."""
    shape = {key: value for key, value in field.items() if key not in {"title", "anyOf"}}
    for choice in field.get("anyOf", []):
        if choice != {"type": "null"}:
            shape |= choice
    if shape.get("default", ...) is None:
        del shape["default"]
    return shape


def _responses(name: str, endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    statuses = {*ALWAYS, *endpoint.problems}
    statuses |= {*WITH_TOKEN} if endpoint.role is not None else set()
    statuses |= {*WITH_BODY} if endpoint.body is not None else set()
    statuses |= {*ON_CHANGE} if endpoint.method != "GET" else set()
    found = {str(endpoint.status): _success(name, endpoint, schemas)}
    for status in sorted(statuses):
        content = {JSON: {"schema": schemas["", "problem"]}}
        if status == HTTPStatus.BAD_REQUEST:
            # What is not HTTP, such as an endless address, is refused before it gets to the API.
            content[TEXT] = {"schema": {"type": "string"}}
        found[str(status)] = {"description": MEANINGS[status], "content": content}
    return found


def _success(name: str, endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    if endpoint.raw:
        return _bytes()
    response: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.answer is not None:
        response["content"] = {JSON: {"schema": schemas[name, "answer"]}}
    return response


def _bytes() -> dict[str, Any]:
    count = {"type": "integer", "minimum": 0, "maximum": limits.ID_MAX}
    return {
        "description": "The bytes",
        "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            "X-PYTQ-Offset": {
                "description": "Where the bytes begin; later than asked for where some were lost",
                "required": True,
                "schema": count,
            },
            "X-PYTQ-Size": {
                "description": "How many bytes the stream has had so far",
                "required": True,
                "schema": count,
            },
        },
    }
