"""What every page shares: the frame around it, news, copying and exporting."""

import csv
import io
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.events import ScreenResume
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.worker import Worker

from pytq.tui.cells import Row, plain
from pytq.tui.cockpit import Cockpit
from pytq.tui.columns import Column
from pytq.tui.messages import News
from pytq.tui.model import EVERYTHING, Kind
from pytq.tui.tables.listing import Moment
from pytq.tui.widgets.chrome import KeyBar, Top


class Page(Screen[None]):
    """A full screen: two lines above, the keys below, and between them what it is about."""

    PLACE: ClassVar[str] = ""  # under which of the places above it counts
    WHAT: ClassVar[str] = ""  # what it is for, as the help tells
    LAYOUT: ClassVar[str] = ""  # CSS, which the application gathers
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (150, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 - likewise
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "copy", show=False, tooltip="copy what the cursor is on"),
        Binding("E", "export", "CSV", show=False, tooltip="save the table as a CSV file"),
        Binding("S", "save", "save", show=False, tooltip="save the text that is shown to a file"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._expected = False
        # Its widgets get their styles as they are mounted; Textual would parse all CSS anew, twice.
        self._css_update_count = self.app._css_update_count  # noqa: SLF001 - see above

    def compose(self) -> ComposeResult:
        """The frame, and what is in it."""
        yield Top()
        yield from self.body()
        yield KeyBar()

    def body(self) -> Iterable[Widget]:
        """What is between the first lines and the last."""
        return ()

    @property
    def cockpit(self) -> Cockpit:
        """The application."""
        return cast(Cockpit, self.app)

    @property
    def at(self) -> Moment:
        """The store, now."""
        return Moment(self.cockpit.store, self.cockpit.now())

    @property
    def seen(self) -> bool:
        """Whether it is visible, be it below a question."""
        stack = self.app.screen_stack
        if self not in stack:
            return False
        return all(isinstance(one, ModalScreen) for one in stack[stack.index(self) + 1 :])

    def about_batch(self) -> str | None:
        """The batch that is looked at, if it is one."""
        return None

    # --- news

    def on_mount(self) -> None:
        """Show what is known already."""
        self.refresh_all()

    def expect(self) -> None:
        """Somebody is on the way here: show how things are now, in one painting of everything."""
        if not self.is_mounted:  # then it will show itself
            return
        self.refresh_all()
        self.refresh()
        self._dirty_widgets.add(self)
        self._expected = True

    def on_screen_resume(self, event: ScreenResume) -> None:
        """Show what has come while another page was on top."""
        event.refresh_styles = False  # whoever changes the theme sees to all pages
        if not self._expected:
            self.refresh_all()
        self._expected = False

    def refresh_all(self) -> None:
        """Show everything as it is now."""
        self._frame()
        self.show(EVERYTHING)

    def on_news(self, message: News) -> None:
        """Show what is new."""
        if self.seen:
            self._frame()
            self.show(message.touched)

    def _frame(self) -> None:
        cockpit = self.cockpit
        top = self.query_one(Top)
        top.show(cockpit.store, self.PLACE, cockpit.address, cockpit.now())

    def show(self, touched: frozenset[Kind]) -> None:
        """Show what of these kinds has changed."""

    def action_leave(self) -> None:
        """Back to where one came from."""
        if len(self.app.screen_stack) > 1:
            self.dismiss()

    def run_worker(  # type: ignore[override] # the same, but for functions alone
        self, work: Callable[[], Awaitable[Any]], *args: Any, **options: Any
    ) -> Worker[Any]:
        """Do something in the background; what comes after the page has gone is dropped."""
        guarded: Any = partial(self._while_there, work)
        return super().run_worker(guarded, *args, **options)

    async def _while_there(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        except NoMatches:
            if self.is_attached and self.is_running:
                raise
            return None

    # --- taking things away

    def copied(self) -> str:
        """What `y` copies: the thing under the cursor, in words."""
        return ""

    def saved(self) -> tuple[str, str]:
        """What `S` saves: a file's name, and its text."""
        return "", ""

    def exported(self) -> tuple[str, Sequence[Column], Iterable[Row]] | None:
        """What `E` saves as CSV: a name, columns and rows."""
        return None

    def action_copy(self) -> None:
        """Copy to the clipboard."""
        text = self.copied()
        if text:
            self.app.copy_to_clipboard(text)
            shown = text if "\n" not in text else f"{len(text.splitlines())} lines"
            self.cockpit.say(f"copied: {shown[:60]}")
        else:
            self.cockpit.say("there is nothing to copy here")

    def action_save(self) -> None:
        """Save the text that is shown."""
        name, text = self.saved()
        if name:
            self.deliver(name, text, "text/plain")
        else:
            self.cockpit.say("there is no text to save here; E saves a table")

    def action_export(self) -> None:
        """Save the table."""
        table = self.exported()
        if table is None:
            self.cockpit.say("there is no table to save here")
            return
        name, columns, rows = table
        self.deliver(f"{name}.csv", as_csv(columns, rows), "text/csv")

    def deliver(self, name: str, text: str, kind: str) -> None:
        """Hand a file over: into the current folder, or to the browser."""
        folder = None if self.app.is_web else Path.cwd()
        path = None if folder is None else _free(folder / name)
        self.app.deliver_text(
            io.StringIO(text),
            save_directory=folder,
            save_filename=name if path is None else path.name,
            mime_type=kind,
        )


def as_csv(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    """A table as CSV, with its titles; nothing in it is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([column.key for column in columns])
    for row in rows:
        writer.writerow([_tame(plain(cell)) for cell in row.cells])
    return text.getvalue()


def _tame(value: str) -> str:
    return f"'{value}" if value.startswith(("=", "+", "@")) else value


def _free(path: Path) -> Path:
    """A name that no file has yet."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found
