"""The description and the server say the same, whatever is sent."""

import asyncio
import inspect
import json
import shutil
import sys
from pathlib import Path

import pytest
from conftest import Client
from openapi_spec_validator import validate

from pytq.schema.endpoints import ENDPOINTS, PREFIX
from pytq.server.api.body import Body
from pytq.server.api.contract import QueueContract
from pytq.server.api.examples import EXAMPLES
from pytq.server.api.openapi import description, document

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_the_description_is_valid_openapi() -> None:
    """Any OpenAPI 3.1 tool can read the description."""
    described = json.loads(document())

    assert described["openapi"].startswith("3.1")
    validate(described)


def test_every_endpoint_is_described_and_in_the_contract() -> None:
    """Nothing is served that is not declared, and the queue is asked for exactly that."""
    operations = {
        operation["operationId"]: (method, path)
        for path, methods in description()["paths"].items()
        for method, operation in methods.items()
    }
    asked = {name for name, _ in inspect.getmembers(QueueContract, inspect.isfunction)}

    assert {
        name: (endpoint.method.lower(), PREFIX + endpoint.path)
        for name, endpoint in ENDPOINTS.items()
    } == operations
    assert set(ENDPOINTS) == {name for name in asked if not name.startswith("_")}


def test_keys_of_dictionaries_are_described_exactly() -> None:
    """A client generated from the description refuses an environment variable named `1=2`."""
    env = description()["components"]["schemas"]["TaskSubmit"]["properties"]["env"]

    assert "pattern" in env["propertyNames"]
    assert "patternProperties" not in env
    assert env["maxProperties"] == 500


@pytest.mark.parametrize(
    ("name", "example"), [(name, each) for name, all_ in EXAMPLES.items() for each in all_]
)
def test_examples_are_valid(name: str, example: str) -> None:
    """Every example of the page works as it stands."""
    raw = json.dumps(EXAMPLES[name][example]["value"]).encode()

    Body(ENDPOINTS[name].body).read(raw)


@pytest.mark.timeout(300)
async def test_no_request_breaks_the_contract(client: Client, tmp_path: Path) -> None:
    """Thousands of made-up requests meet no 5xx and no answer that is not described."""
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program, "schemathesis is installed beside the Python that runs the tests"
    attack = await asyncio.create_subprocess_exec(
        program,
        "--config-file",
        str(CONFIG),
        "run",
        str(client.make_url("/openapi.json")),
        "--max-examples=15",
        "--warnings=off",
        "--no-color",
        "--generation-database=none",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await attack.communicate()

    assert attack.returncode == 0, said.decode()
