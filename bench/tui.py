"""Measures the cockpit: a million tasks, 200 workers, 2,000 changes a second.

How long until the first screen is there (the real program, in a terminal of its own), how long a
key takes from being pressed until the screen shows what it did (a headless pilot that also makes
the terminal's bytes), and how much memory all of it takes. What is painted while the application
holds its painting back from the terminal does not count as shown. Prints a Markdown table.

Times are given as they pass, and as processor time of the cockpit: on a machine that is busy with
other things the latter is what can be compared.
"""

# ruff: noqa: SLF001 - when the screen has been painted is nobody else's business, as a rule

import argparse
import asyncio
import fcntl
import gc
import os
import pty
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
from textual.screen import Screen

HERE = Path(__file__).resolve().parent
SIZE = (200, 50)
FIRST_SCREEN = 1.0
KEY = 0.050
MEMORY = 250 * 2**20
# Each of these does something that shows; where the list ends, they begin again.
STORY = (
    *("4", "down", "down", "down", "pagedown", "down", "down", "space", "up", "pagedown", "end"),
    *("up", "up", "pageup", "home", "f", "down", "down", "pagedown", "f", "o", "o", "o"),
    *("3", "down", "down", "pagedown", "end", "home", "o", "O", "down", "a", "escape"),
    *("2", "down", "down", "up", "o", "1", "tab", "tab", "6", "down", "pagedown", "5"),
    *("question_mark", "escape", "3", "down", "up", "4", "down", "right", "left", "1"),
)


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_500, help="keys to press (%(default)s)")
    parser.add_argument("--starts", type=int, default=7, help="starts to time (%(default)s)")
    options = parser.parse_args()
    with simulated() as address:
        starts = [first_screen(address) for _ in range(options.starts)]
        keys, facts = asyncio.run(pressed(address, options.keys))
    print(table(starts, keys, facts))
    return 0


@contextmanager
def simulated():
    """The simulated server, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, str(HERE / "tui_world.py"), str(port)]
    child = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        yield f"127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


# --- the first screen


def first_screen(address):
    """Seconds, and of them on a processor, from starting `pytq tui` until a million are counted."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    begin = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "pytq.cli.main", "tui", address],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    os.close(follower)
    try:
        seconds = _until(leader, "● live".encode(), begin)
        used = psutil.Process(child.pid).cpu_times()
        return seconds, used.user + used.system
    finally:
        os.write(leader, b"q")
        _drain(leader, child)
        os.close(leader)


def _until(leader, wanted, begin):
    seen = b""
    while wanted not in seen:
        assert select.select([leader], [], [], 30)[0], seen[-500:]
        seen += os.read(leader, 65536)
    return time.perf_counter() - begin


def _drain(leader, child):
    deadline = time.monotonic() + 10
    while child.poll() is None and time.monotonic() < deadline:
        if select.select([leader], [], [], 0.05)[0]:
            try:
                os.read(leader, 65536)
            except OSError:
                break
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


# --- keys


async def pressed(address, amount):
    """Press keys one after the other; seconds each took to show, and facts about the process."""
    from textual import events

    from pytq.client import Client
    from pytq.tui.app import PytqApp
    from pytq.tui.collecting import spare_pauses

    me = psutil.Process()
    latencies = []
    async with Client(address, token="", patience=0) as client:
        app = PytqApp(client)
        spare_pauses()
        async with app.run_test(size=SIZE) as pilot:
            painting = Painting(app)
            while app.store.link.state != "live":
                await pilot.pause(0.01)
            await pilot.pause(2)
            dice = random.Random(1)
            busy, began = me.cpu_times(), time.perf_counter()
            for number in range(amount):
                key = STORY[number % len(STORY)]
                event = events.Key(key, key if len(key) == 1 else None)
                latencies.append(await _press(app, event, painting))
                await asyncio.sleep(dice.uniform(0.01, 0.08))
            seconds = time.perf_counter() - began
            used = me.cpu_times()
            memory = me.memory_full_info()
            facts = {
                "resident": memory.rss,
                "own": memory.uss,
                "cpu": (used.user + used.system - busy.user - busy.system) / seconds,
                "objects": len(gc.get_objects()),
            }
    return [one for one in latencies if one is not None], facts | {"keys": latencies}


class Painting:
    """Tells when something that has changed has also been painted, its bytes made."""

    def __init__(self, app):
        self.app = app
        self.before = None
        self.shown = asyncio.Event()
        self._display = app._display
        app._display = self.display
        paint = Screen._compositor_refresh

        def painted(screen):
            paint(screen)
            self.look(screen)

        update = Screen._on_timer_update

        def updated(screen):
            update(screen)
            self.look(screen)

        Screen._compositor_refresh = painted
        Screen._on_timer_update = updated  # a layout paints before it says that it is done

    def display(self, screen, renderable):
        """Make the bytes too, which a pilot's application does not."""
        self._display(screen, renderable)
        if self.app._batch_count:  # nothing of it would go to the terminal
            return
        if hasattr(renderable, "render_segments"):
            renderable.render_segments(self.app.console)

    def look(self, screen):
        """Note that the screen has been painted; what the key did may be among it."""
        if self.app._batch_count:  # painted, but held back from the terminal
            return
        left = screen._dirty_widgets or screen._layout_required
        if self.before is not None and not left and looks(self.app) != self.before:
            self.shown.set()


def looks(app):
    """What a key changes: the page, what has the focus, cursor, marks, order."""
    screen, focused = app.screen, app.focused
    tables = screen.query("Table")
    return (
        type(screen).__name__,
        None if focused is None else focused.id,
        tuple(
            (table.cursor, table.scroll_offset, len(table.marks), table.order) for table in tables
        ),
        getattr(screen, "query_", None),
    )


async def _press(app, event, painting):
    """Seconds from the key until what it did has been painted, and of them on a processor.

    None for a key that has nothing to do here.
    """
    painting.before = looks(app)
    painting.shown.clear()
    begin, busy = time.perf_counter(), time.process_time()
    app.post_message(event)
    try:
        await asyncio.wait_for(painting.shown.wait(), 2)
    except TimeoutError:
        return None
    finally:
        painting.before = None
    return time.perf_counter() - begin, time.process_time() - busy


# --- the table


def table(starts, keys, facts):
    """What was measured, against what was promised."""
    rows = [
        timed("first screen, median", starts, 0.5, FIRST_SCREEN),
        timed("first screen, slowest", starts, 1.0),
        timed("a key, median", keys, 0.5),
        timed("a key, p99", keys, 0.99, KEY),
        timed("a key, slowest", keys, 1.0),
        memory("memory, resident", facts["resident"], MEMORY),
        memory("memory, its own", facts["own"]),
        ("processor, while keys are pressed", "", f"{facts['cpu']:.0%} of a core", "", ""),
    ]
    about = (
        f"`pytq tui` at {SIZE[0]}x{SIZE[1]} with 1,000,000 tasks and 200 workers, 2,000 changes a"
        f" second; {len(starts)} starts, {len(keys)} keys; load {os.getloadavg()[0]:.1f} on"
        f" {os.cpu_count()} cores."
    )
    lines = [about, "", "| | measured | on a processor | promised | |", "|---|---|---|---|---|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def timed(what, pairs, share, promised=None):
    """A row: some quantile of times."""

    def at(times):
        return sorted(times)[min(len(times) - 1, int(len(times) * share))]

    passed, used = at([one for one, _ in pairs]), at([other for _, other in pairs])
    limit = "" if promised is None else f"{promised * 1e3:.0f} ms"
    return what, f"{passed * 1e3:.1f} ms", f"{used * 1e3:.1f} ms", limit, holds(passed, promised)


def memory(what, amount, promised=None):
    """A row of mebibytes."""
    limit = "" if promised is None else f"{promised / 2**20:.0f} MiB"
    return what, f"{amount / 2**20:.0f} MiB", "", limit, holds(amount, promised)


def holds(value, promised):
    """Whether a promise was kept."""
    if promised is None:
        return ""
    return "holds" if value < promised else "**does not hold**"


if __name__ == "__main__":
    sys.exit(main())
