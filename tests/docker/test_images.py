"""Images, from a real registry that wants a login, and from one that is not well."""

import asyncio
import base64
import json
import os
import re
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from container_parts import ended, step
from private_docker import PASSWORD, USER, PrivateDocker, PrivateRegistry, free_port
from scripted import ScriptedServer, succeeded
from worker_parts import leave

from pytq.schema.states import Cause, Outcome, Phase
from pytq.schema.views import WorkerSettings
from pytq.worker.runners.docker import pulls
from pytq.worker.runners.docker.credentials import Credentials
from pytq.worker.runners.docker.dockerd import Dockerd
from pytq.worker.runners.docker.images import Images
from pytq.worker.runners.docker.pulls import ImageError

Start = Callable[..., "asyncio.Task[int]"]


def log_in(folder: Path, host: str, password: str = PASSWORD, user: str = USER) -> Path:
    """What `docker login` leaves behind."""
    folder.mkdir(exist_ok=True)
    secret = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))
    return folder


@pytest.fixture
async def images(docker: PrivateDocker, tmp_path: Path) -> AsyncIterator[Callable[..., Images]]:
    """Make what a worker has of images, as often as it is started."""
    dockerd = Dockerd(docker.socket)
    await dockerd.greet()

    def make(login: Path | None = None, wanted: Callable[[], list[str]] = list) -> Images:
        return Images(dockerd, tmp_path / "images.json", wanted, Credentials(login or tmp_path))

    yield make
    await dockerd.close()


async def begun(images: Images) -> None:
    """Wait until a pull is under way."""
    while not images._pulls:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.001)


def quiet(done: int, total: int | None) -> None:
    """Nobody watches."""


async def test_a_private_image_is_pulled_while_staging(
    server: ScriptedServer,
    start: Start,
    docker: PrivateDocker,
    registry: PrivateRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A login from config.json opens a private registry; bytes show while the image comes."""
    image = registry.fill(docker, "private/tool:1", filler=30_000_000)
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path / "docker", registry.host)))
    monkeypatch.setattr("pytq.worker.upkeep.LOOK_SECONDS", 0.05)
    server.settings = WorkerSettings(version=1, concurrency=1, prefetch=1)
    first = server.add(steps=[step("sleep 2")])
    second = server.add(steps=[step("echo pulled") | {"container": image}])
    start()
    await server.phase_of(second, Phase.READY)  # while the first one has the only slot

    assert first not in server.ended
    assert succeeded(await ended(server, second))
    assert server.text(second) == "pulled\n"
    staging = [s.staging for r in server.reports for s in r.staging or ()]
    assert any(image in t.uri for one in staging for t in one.transfers)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("127.0.0.1:{port}/private/tool:none", "manifest"),
        ("127.0.0.1:{port}/nobody/knows:1", "not found|unknown|denied|does not exist"),
    ],
)
async def test_a_missing_image_fails_at_once(
    server: ScriptedServer,
    start: Start,
    registry: PrivateRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: str,
    said: str,
) -> None:
    """What a registry does not have will not come by asking again; image and reason are named."""
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path / "docker", registry.host)))
    name = image.format(port=registry.port)
    ref = server.add(steps=[step("true") | {"container": name}])
    start()
    end = await ended(server, ref)

    assert (end.outcome, end.cause, end.running) == (Outcome.FAILED, Cause.IMAGE, None)
    assert f"docker://{name}: " in end.detail
    assert re.search(said, end.detail)


async def test_a_wrong_password_says_so(
    docker: PrivateDocker, registry: PrivateRegistry, images: Callable[..., Images], tmp_path: Path
) -> None:
    """Without the right login a private image is refused, with a word on what to do."""
    image = registry.fill(docker, "private/locked:1")
    for login in (log_in(tmp_path / "wrong", registry.host, "wrong"), tmp_path / "none"):
        with pytest.raises(ImageError, match="docker login") as refused:
            await images(login).ensure(image, quiet)
        assert refused.value.permanent
        assert refused.value.cause is Cause.IMAGE

    await images(log_in(tmp_path / "right", registry.host)).ensure(image, quiet)


async def test_ten_tasks_one_pull(
    docker: PrivateDocker, registry: PrivateRegistry, images: Callable[..., Images], tmp_path: Path
) -> None:
    """Ten that want the same image, by any of its names, wait for one pull; all see it come."""
    image = registry.fill(docker, "private/shared", filler=20_000_000)
    mine = images(log_in(tmp_path / "docker", registry.host))
    seen: list[list[tuple[int, int | None]]] = [[] for _ in range(10)]
    names = [image, f"{image}:latest"] * 5

    since = time.time()
    async with asyncio.TaskGroup() as group:
        for name, heard in zip(names, seen, strict=True):
            group.create_task(mine.ensure(name, lambda d, t, h=heard: h.append((d, t))))
    span = ("--since", f"{since:.3f}", "--until", f"{time.time():.3f}")
    pulled = docker.cli("events", *span, "--filter=event=pull", "--format={{.ID}}")

    done = [max(number for number, _ in heard) for heard in seen]
    assert min(done) == max(done) > 20_000_000
    assert pulled.splitlines() == [f"{image}:latest"]


async def test_a_pull_that_nobody_wants_any_more_is_ended(
    docker: PrivateDocker, registry: PrivateRegistry, images: Callable[..., Images], tmp_path: Path
) -> None:
    """When the last who waits goes, the pull goes too; when another stays, it goes on."""
    image = registry.fill(docker, "private/unwanted", filler=20_000_000)
    mine = images(log_in(tmp_path / "docker", registry.host))
    first, second = (asyncio.create_task(mine.ensure(image, quiet)) for _ in range(2))
    await begun(mine)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await second
    assert docker.cli("images", "--quiet", image)

    docker.cli("rmi", image)
    mine.doubt(image)
    third = asyncio.create_task(mine.ensure(image, quiet))
    await begun(mine)
    third.cancel()
    await asyncio.gather(third, return_exceptions=True)

    assert not mine._pulls
    assert not docker.cli("images", "--quiet", image)


async def test_who_comes_while_a_pull_is_given_up_gets_one_of_their_own(
    docker: PrivateDocker, registry: PrivateRegistry, images: Callable[..., Images], tmp_path: Path
) -> None:
    """A pull that ends because nobody wanted it harms nobody who wants the image just then."""
    image = registry.fill(docker, "private/again", filler=20_000_000)
    mine = images(log_in(tmp_path / "docker", registry.host))
    first = asyncio.create_task(mine.ensure(image, quiet))
    await begun(mine)
    [pull] = mine._pulls.values()
    first.cancel()
    while not pull.given_up:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0)

    await mine.ensure(image, quiet)
    assert docker.cli("images", "--quiet", image)
    assert first.cancelled()


async def test_an_unreachable_registry_is_tried_again_then_handed_back(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that is down costs a task none of its tries: it is refused, to go elsewhere."""
    monkeypatch.setattr(pulls, "FIRST_PAUSE", 0.01)
    ref = server.add(steps=[step("true") | {"container": f"127.0.0.1:{free_port()}/x/y"}])
    start()
    end = await ended(server, ref, 60)

    assert (end.outcome, end.cause) == (Outcome.REFUSED, Cause.IMAGE)
    assert "refused" in end.detail


async def test_a_registry_that_hangs_is_given_up(
    images: Callable[..., Images], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that takes calls and never answers ends in an error, not in waiting for ever."""
    monkeypatch.setattr(pulls, "STALL_SECONDS", 1.0)
    monkeypatch.setattr("pytq.worker.runners.docker.dockerd.ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(pulls, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(pulls, "TRIES", 2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        image = f"127.0.0.1:{deaf.getsockname()[1]}/x/y:1"
        with pytest.raises(ImageError, match=r"within 1 s|has come for 1 s") as error:
            await images().ensure(image, quiet)

    assert not error.value.permanent


async def test_a_registry_that_comes_back_is_heard(
    docker: PrivateDocker,
    registry: PrivateRegistry,
    images: Callable[..., Images],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A registry that is restarted in between is waited for."""
    monkeypatch.setattr(pulls, "FIRST_PAUSE", 0.5)
    image = registry.fill(docker, "private/patience")
    registry.stop()
    pull = asyncio.create_task(
        images(log_in(tmp_path / "docker", registry.host)).ensure(image, quiet)
    )
    await asyncio.sleep(0.3)
    await asyncio.to_thread(registry.start)
    await pull

    assert docker.cli("images", "--quiet", image)


async def test_only_what_was_pulled_here_is_evicted(
    docker: PrivateDocker, registry: PrivateRegistry, images: Callable[..., Images], tmp_path: Path
) -> None:
    """The least recently used goes first; never what was here before, is in use, or is pinned."""
    login = log_in(tmp_path / "docker", registry.host)
    names = ["old", "new", "pinned", "used"]
    pulled = [registry.fill(docker, f"evict/{name}:1", filler=1_000_000) for name in names]
    old, new, pinned, used = pulled
    before = docker.image("evict:before")
    mine = images(login, lambda: [used])
    for number, image in enumerate([*pulled, before]):
        await mine.ensure(image, quiet)
        if image != before:
            mine._kept[image].used = 1000.0 + number
    assert mine.pin(f"docker://{pinned}", pinned=True)
    assert not mine.pin("s3://bucket/x", pinned=True)
    mine = images(login, lambda: [used])  # the worker is started again

    views = {view.uri: view for view in await mine.list()}
    assert set(views) == {f"docker://{image}" for image in pulled}
    assert views[f"docker://{pinned}"].pinned
    assert views[f"docker://{used}"].users == 1
    assert all(view.bytes > 1_000_000 for view in views.values())
    freed = await mine.evict(1_000_000)
    assert freed > 1_000_000
    assert not docker.cli("images", "--quiet", old)
    assert docker.cli("images", "--quiet", new)
    assert await mine.remove([]) > 1_000_000
    assert not docker.cli("images", "--quiet", new)
    for image in (pinned, used, before):
        assert docker.cli("images", "--quiet", image)
    assert await mine.remove([f"docker://{before}"]) == 0
    assert await mine.evict(10**12) == 0


async def test_an_image_that_a_container_needs_stays(
    docker: PrivateDocker, registry: PrivateRegistry, images: Callable[..., Images], tmp_path: Path
) -> None:
    """Dockerd keeps what any container needs, somebody else's too, and so do we."""
    image = registry.fill(docker, "evict/needed:1")
    mine = images(log_in(tmp_path / "docker", registry.host))
    await mine.ensure(image, quiet)
    docker.cli("create", "--name=other", image, "true")

    assert await mine.evict(10**12) == 0
    assert [view.uri for view in await mine.list()] == [f"docker://{image}"]


async def test_an_image_removed_by_others_is_pulled_again(
    server: ScriptedServer,
    start: Start,
    docker: PrivateDocker,
    registry: PrivateRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody's `docker image prune` between two tasks costs a pull and nothing else."""
    image = registry.fill(docker, "private/pruned:1")
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path / "docker", registry.host)))
    task = step("echo here") | {"container": image}
    worker = start()
    for _ in range(2):
        ref = server.add(steps=[task])
        await server.until(lambda: server.reports)
        await server.hand_out()
        assert succeeded(await ended(server, ref))
        assert server.text(ref) == "here\n"
        await asyncio.to_thread(docker.cli, "rmi", "--force", image)
    await leave(worker)


async def test_a_credential_helper_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a keyring's helper program says is used; one that knows nothing falls back to auths."""
    helper = tmp_path / "docker-credential-fake"
    helper.write_text(
        '#!/bin/sh\nread host\n[ "$host" = known.example:5000 ] || exit 1\n'
        'echo \'{"ServerURL":"x","Username":"me","Secret":"it"}\'\n'
    )
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    other = base64.b64encode(b"you:them").decode()
    config = {
        "credsStore": "fake",
        "auths": {"https://other.example/v2/": {"auth": other}, "known.example:5000": {}},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    credentials = Credentials(tmp_path)

    known = await credentials.of("known.example:5000")
    assert known == {"username": "me", "password": "it", "serveraddress": "known.example:5000"}
    fallback = await credentials.of("other.example")
    assert fallback is not None
    assert (fallback["username"], fallback["password"]) == ("you", "them")
    assert await credentials.of("docker.io") is None
