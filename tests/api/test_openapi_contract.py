"""The description and the server say the same, whatever is sent."""

import asyncio
import inspect
import json
import shutil
import sys
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from api_client import Client
from openapi_spec_validator import validate
from yarl import URL

from pytq.schema import limits
from pytq.schema.access import Role
from pytq.schema.endpoints import ENDPOINTS, PREFIX
from pytq.server.api import HTTP
from pytq.server.api.body import Body
from pytq.server.api.contract import QueueContract
from pytq.server.api.doors import KEYRING
from pytq.server.api.examples import EXAMPLES
from pytq.server.api.openapi import description, document
from pytq.server.app import application
from pytq.server.settings import ServerSettings

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


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let thousands of wrong tokens be answered with 401: what comes after is tested elsewhere."""
    monkeypatch.setattr(limits, "WRONG_TOKENS_PER_MINUTE", 1e6)


async def attack(address: URL, folder: Path, token: str, *options: str) -> tuple[int | None, str]:
    """Let schemathesis loose on a server."""
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program, "schemathesis is installed beside the Python that runs the tests"
    process = await asyncio.create_subprocess_exec(
        program,
        "--config-file",
        str(CONFIG),
        "run",
        str(address),
        "--warnings=off",
        "--no-color",
        "--generation-database=none",
        f"--header=Authorization: Bearer {token}",
        *options,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("patience")
async def test_no_request_breaks_the_contract(client: Client, token: str, tmp_path: Path) -> None:
    """A thousand made-up requests meet no 5xx, no undescribed answer and no door left open."""
    address = client.make_url("/openapi.json")
    code, said = await attack(address, tmp_path, token, "--max-examples=12")

    assert code == 0, said


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("patience")
async def test_no_request_breaks_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds with the real queue and a real database behind the API."""
    monkeypatch.delenv("SQLALCHEMY_DATABASE_URI", raising=False)  # not somebody's own queue
    async with application(ServerSettings(data_dir=tmp_path / "data")) as app:
        server = TestServer(app)
        await server.start_server(**HTTP)
        token = app[KEYRING].hand_out("local", Role.ADMIN)
        # These two wait for news by design; how they answer was tried above.
        patient = ["--exclude-operation-id=follow_task", "--exclude-operation-id=wait_for_tasks"]
        code, said = await attack(
            server.make_url("/openapi.json"), tmp_path, token, "--max-examples=6", *patient
        )
        await server.close()

    assert code == 0, said
