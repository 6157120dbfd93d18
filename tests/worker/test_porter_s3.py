"""A whole worker whose data lives on S3: it comes, it goes, and the store may be away."""

import asyncio
import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evil_archives import tar
from moto.server import ThreadedMotoServer
from scripted import ScriptedServer, succeeded
from staging_parts import resource, wants

from pytq.schema.states import Phase

Start = Callable[..., "asyncio.Task[int]"]


async def test_uploads_go_on_after_a_kill(
    server: ScriptedServer, processes: Any, tmp_path: Path
) -> None:
    """With the store away and the agent killed meanwhile, the output still gets there; once run."""
    store = ThreadedMotoServer("127.0.0.1", 0)
    store.start()
    port = store.get_host_and_port()[1]
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    await asyncio.to_thread(make_bucket, env)  # moto keeps it: the next one is up with it at once
    store.stop()
    runs = tmp_path / "runs"
    ref = server.add_json(
        {
            "steps": [{"command": f"echo x >> {runs}; echo result > $OUTPUT/result"}],
            "outputs": [{"path": "/output", "destination": "s3://bucket/out/", "directory": True}],
        }
    )
    first = await processes(**env)
    await server.phase_of(ref, Phase.UPLOADING)
    first.kill()
    await first.wait()
    await processes(**env)
    await server.until(lambda: len(server.hellos) == 2)
    again = ThreadedMotoServer("127.0.0.1", port)
    again.start()
    try:
        ended = await server.end_of(ref, 60)
        assert succeeded(ended), ended
        assert await asyncio.to_thread(content, env, "out/result") == b"result\n"
        assert runs.read_text() == "x\n"
        assert None not in (ended.running, ended.uploading)
    finally:
        again.stop()


def client(env: dict[str, str]) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - moto takes anything
    )


def make_bucket(env: dict[str, str]) -> None:
    with contextlib.closing(client(env)) as s3:
        s3.create_bucket(Bucket="bucket")


def put(env: dict[str, str], key: str, data: bytes) -> None:
    with contextlib.closing(client(env)) as s3:
        s3.put_object(Bucket="bucket", Key=key, Body=data)


def content(env: dict[str, str], key: str) -> bytes:
    with contextlib.closing(client(env)) as s3:
        return bytes(s3.get_object(Bucket="bucket", Key=key)["Body"].read())


async def test_a_task_that_lives_on_s3(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders and archives come from S3, are worked on, and the results go back there."""
    store = ThreadedMotoServer("127.0.0.1", 0)
    store.start()
    env = {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*store.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    await asyncio.to_thread(make_bucket, env)
    tools = gzip.compress(tar(("bin/join", {"mode": 0o755}, b"#!/bin/sh\ncat $INPUT/*/*\n")))
    for key, data in {"in/a/1": b"one", "in/b/2": b"two", "tools.tgz": tools}.items():
        await asyncio.to_thread(put, env, key, data)
    ref = wants(
        server,
        "$RESOURCE/bin/join > $OUTPUT/joined",
        {"source": "s3://bucket/in/", "path": "/input", "directory": True},
        resource("s3://bucket/tools.tgz|untar", "/resource/tools.tgz"),
        outputs=[{"path": "/output", "destination": "s3://bucket/out/", "directory": True}],
    )
    try:
        start()
        ended = await server.end_of(ref, 30)
        assert succeeded(ended), ended
        assert await asyncio.to_thread(content, env, "out/joined") == b"onetwo"
    finally:
        store.stop()
