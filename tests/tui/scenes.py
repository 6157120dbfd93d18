"""The pictures of the cockpit: which screens, how one gets there, and what they look like.

The documentation shows these pictures, and `test_tui_looks.py` holds the screens to them.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import world as worlds
from fake_server import serving
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from pytq.client import Client
from pytq.tui.app import PytqApp
from pytq.tui.messages import ShowTask, ShowWorker
from pytq.tui.rates import ended
from pytq.tui.theme import LIGHT

SIZES = ((80, 24), (200, 50))
_PATIENCE_SECONDS = 20.0
_LATELY = {"run7": 206, "assembly": 41}  # tasks ended in the last minute, as the history tells
_FONTS = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"

Step = str | Callable[[PytqApp], object]


class Posed(PytqApp):
    """The application, with an address that is the same everywhere."""

    address = "queue.example.org"


@dataclass(frozen=True)
class Scene:
    """A picture: keys and calls that lead to it, and what must be on it before it is taken."""

    name: str
    steps: tuple[Step, ...] = ()
    sees: tuple[str, ...] = ()
    world: Callable[[], worlds.World] = worlds.make
    light: bool = False
    gone: bool = False  # the server goes away at the end


SCENES = (
    Scene("overview", sees=("23 online", "Alerts: 9")),
    Scene("overview-light", sees=("23 online", "Alerts: 9"), light=True),
    Scene("overview-first-day", sees=("no batch yet", "✓ nothing"), world=worlds.empty),
    Scene("overview-server-away", sees=("server away for 0 s",), gone=True),
    Scene("batches", ("2",), ("batch run7", "as task 388")),
    Scene("workers", ("3", lambda app: app.screen.table.move_to_key("vm-18")), ("worker vm-18",)),
    Scene(
        "worker", (lambda app: app.post_message(ShowWorker("vm-03")),), ("Under way: 3", "Kept: 3")
    ),
    Scene("tasks", ("4", "right", "right", "right"), ("downloading", "uploading")),
    Scene("tasks-failed", ("4", "f"), ("kraken2", "388")),
    Scene("task", (lambda app: app.post_message(ShowTask(388)),), ("unable to mmap",)),
    Scene(
        "task-staging",
        (lambda app: app.post_message(ShowTask(315)),),
        ("57 s left", "stdout: nothing"),
    ),
    Scene("task-edit", ("4", "f", "e"), ("Change task 388",)),
    Scene("task-why", ("4", "w"), ("it is draining",)),
    Scene("recruit", ("r",), ("0.221 EUR", "1 worker into qc-2026")),
    Scene("jobs", ("5", "down"), ("install docker",)),
    Scene("events", ("6",), ("silent for 30 s",)),
    Scene("help", ("3", "question_mark"), ("one more task at once",)),
    Scene("palette", ("2", "colon"), ("go to overview",)),
    Scene("confirm", ("2", "t"), ("Run 2,954 failed tasks",)),
    Scene("filter", ("4", "slash", *"srr8912", "space", *"status:fa"), ("259",)),
)


async def picture(scene: Scene, size: tuple[int, int]) -> str:
    """The picture of a scene, as SVG."""
    async with serving(scene.world()) as server:
        assert server.http is not None
        async with Client(f"127.0.0.1:{server.http.port}", token="", patience=0) as client:
            app = Posed(client, now=lambda: 1_000.0)
            if scene.light:
                app.theme = LIGHT.name
            async with app.run_test(size=size) as pilot:
                await _until(pilot, lambda: app.store.link.state == "live")
                _look_back(app)
                for step in scene.steps:
                    await _take(pilot, step)
                if scene.gone:
                    app.feed._lost("the server has closed the connection")
                    app._lost("the server has closed the connection")
                await _until(pilot, lambda: all(text in _text(app) for text in scene.sees))
                await _settle(pilot)
                return tidy(app.export_screenshot())


def _look_back(app: PytqApp) -> None:
    """As if somebody had been looking for a minute: what each batch got done meanwhile."""
    done = {name: ended(batch.counts) for name, batch in app.store.batches.items()}
    before = {name: amount - _LATELY.get(name, 0) for name, amount in done.items()}
    app.store.pace.samples.appendleft((app.now() - 60.0, before))
    app._tick()


async def _take(pilot: Pilot[Any], step: Step) -> None:
    if isinstance(step, str):
        await pilot.press(step)
    else:
        done = step(pilot.app)  # type: ignore[arg-type]
        if isinstance(done, Awaitable):
            await done
    await pilot.pause()


async def _settle(pilot: Pilot[Any]) -> None:
    """Wait until nothing changes any more; nothing blinks."""
    app = pilot.app
    for field in app.screen.query("Input, TextArea"):
        if isinstance(field, Input | TextArea):
            field.cursor_blink = False
    before = ""
    while (now := _text(app)) != before or [w for w in app.workers if w.group == "pages"]:
        before = now
        await pilot.pause(0.3)
    for field in app.screen.query("Input, TextArea"):
        field._cursor_visible = True  # type: ignore[attr-defined]
    await pilot.pause()


def _text(app: Any) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def _until(pilot: Pilot[Any], holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, _text(pilot.app)
        await asyncio.sleep(0.02)


def tidy(svg: str) -> str:
    """A picture that asks no host for a font, and has no numbers that change from run to run."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    # Each line is clipped to itself, which leaves gaps in what spans lines.
    svg = re.sub(r' clip-path="url\(#\S+-line-\d+\)"', "", svg)
    svg = re.sub(r'<clipPath id="\S+-line-\d+">.*?</clipPath>\s*', "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", _FONTS)
    svg = svg.replace("font-size: 20px", "font-size: 21px")  # so that lines and bars join
    found = re.search(r"terminal-(\d+)-", svg)
    return svg.replace(f"terminal-{found[1]}-", "pytq-") if found else svg
