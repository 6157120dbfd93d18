"""Recruiting: a form that fills itself, so that Enter alone is often enough."""

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from pydantic import ValidationError
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Select

from pytq.schema.problems import PytqError
from pytq.schema.recruit import Flavor, JobView, ProviderView, Recruit
from pytq.tui import acts, words
from pytq.tui.cells import text
from pytq.tui.messages import ShowJob
from pytq.tui.panels.layout import flowing
from pytq.tui.screens.page import Page
from pytq.tui.tables import flavors
from pytq.tui.tables.listing import ListedRows
from pytq.tui.widgets.board import Board
from pytq.tui.widgets.painting import entitle
from pytq.tui.widgets.table import Table

_NUMBERS: Final = ("count", "concurrency", "prefetch")


class RecruitPage(Page):
    """Provider, region, machine, how many, and for whom."""

    PLACE = "workers"
    AUTO_FOCUS = "#machines"
    WHAT = "Recruit workers: the form fills itself; ctrl+r recruits."
    LAYOUT: ClassVar[str] = """
    RecruitPage {
        #form { height: 1fr; margin: 0 1; border: round $edge; padding: 0 1;
                border-title-color: $foreground; }
        .row { height: 3; }
        .row Label { padding: 1 1; color: $dim; width: auto; min-width: 10; }
        .row Select { width: 1fr; }
        .row Input { width: 1fr; border: round $edge; background: $background; }
        .row Input:focus { border: round $primary; }
        .row Button { margin: 1 0 0 2; width: auto; }
        #machines { width: 100%; border: round $edge; min-height: 5; }
        #machines:focus { border: round $primary; }
        #summary { height: 2; margin: 0 1; }
        #wrong { height: auto; margin: 0 1; }
        &.-short .row Label { min-width: 0; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "recruit", "recruit", priority=True, tooltip="recruit them"),
        Binding("tab", "app.focus_next", "next field", tooltip="to the next field"),
        Binding("escape", "leave", "back", tooltip="recruit nobody"),
    ]

    def __init__(self, batch: str | None = None) -> None:
        super().__init__()
        self.for_batch = batch
        self.providers: list[ProviderView] = []

    def body(self) -> Iterable[Widget]:
        """The form."""
        with_batch = self.for_batch or flavors.needy(self.at.store)
        known = sorted(self.at.store.batches)
        form = Vertical(
            Horizontal(
                Label("provider"),
                Select[str]([], id="provider", allow_blank=True, prompt="…"),
                Label("region"),
                Select[str]([], id="region", allow_blank=True, prompt="any"),
                classes="row",
            ),
            Table(flavors.COLUMNS, id="machines"),
            Horizontal(
                Label("workers"),
                Input("1", id="count", type="integer"),
                Label("tasks at once"),
                Input(id="concurrency", type="integer", placeholder="CPUs"),
                Label("prefetch"),
                Input("0", id="prefetch", type="integer"),
                classes="row",
            ),
            Horizontal(
                Label("batch"),
                Input(with_batch, id="batch", suggester=SuggestFromList(known)),
                Button("Recruit", id="go", variant="primary", compact=True),
                classes="row",
            ),
            Board(id="summary"),
            Board(id="wrong"),
            id="form",
        )
        entitle(form, "Recruit workers")
        yield form

    def on_mount(self) -> None:
        """Ask who has machines."""
        super().on_mount()
        self.table.empty = (text("asking who has machines …", "dim"),)
        self.table.focus()
        self._fetch()

    @property
    def table(self) -> Table:
        """The machines."""
        return self.query_one("#machines", Table)

    @work(exclusive=True, group="providers")
    async def _fetch(self) -> None:
        try:
            self.providers = await self.cockpit.client.list_providers()
        except PytqError as error:
            self.table.empty = (text(acts.told(error), "bad"),)
            self.table.refresh()
            return
        usable = [one for one in self.providers if one.trouble is None] or self.providers
        select: Select[str] = self.query_one("#provider", Select)
        select.set_options([(words.clean(one.name), one.name) for one in self.providers])
        if usable:
            select.value = usable[0].name
        else:
            self.table.empty = (text("this server has no provider of machines", "warn"),)
            self.table.refresh()

    # --- the form fills itself

    @property
    def provider(self) -> ProviderView | None:
        """The chosen one."""
        name = self.query_one("#provider", Select).value
        return next((one for one in self.providers if one.name == name), None)

    @property
    def chosen_region(self) -> str | None:
        """The chosen one."""
        value = self.query_one("#region", Select).value
        return value if isinstance(value, str) else None

    @property
    def flavor(self) -> Flavor | None:
        """The machine under the cursor."""
        provider = self.provider
        if provider is None:
            return None
        found = flavors.of(provider, self.chosen_region)
        return next((one for one in found if one.name == self.table.key), None)

    def on_select_changed(self, event: Select.Changed) -> None:
        """Another provider or region: other machines."""
        provider = self.provider
        if provider is None:
            return
        if event.select.id == "provider":
            region: Select[str] = self.query_one("#region", Select)
            region.set_options([(words.clean(one), one) for one in provider.regions])
            if provider.regions:
                region.value = provider.regions[0]
        self._show_machines(provider)

    def _show_machines(self, provider: ProviderView) -> None:
        found = flavors.of(provider, self.chosen_region)
        self.table.empty = (text(f"{words.clean(provider.name)} offers nothing there", "dim"),)
        rows = [flavors.row(one, provider.currency) for one in found]
        self.table.show_rows(ListedRows.of(rows))
        self._summarise()

    def on_table_highlighted(self, _message: Table.Highlighted) -> None:
        """Another machine."""
        flavor = self.flavor
        if flavor is not None:
            at_once: Input = self.query_one("#concurrency", Input)
            at_once.placeholder = str(max(1, flavor.cpus))
        self._summarise()

    def on_table_opened(self, _message: Table.Opened) -> None:
        """Enter goes on to how many."""
        self.query_one("#count", Input).focus()

    def on_input_changed(self, _event: Input.Changed) -> None:
        """Another number."""
        self._summarise()

    def _summarise(self) -> None:
        try:
            wish = self._wish()
        except (ValidationError, ValueError) as error:
            self._complain(_said(error))
            self.query_one("#summary", Board).show(lambda _width, _height: ())
            return
        provider = self.provider
        currency = provider.currency if provider else None
        said = flavors.summary(wish, self.flavor, currency, self.at.store)
        self._complain(words.clean(provider.trouble or "") if provider else "")
        self.query_one("#summary", Board).show(lambda width, _: flowing(said, " · ", width, 2))

    def _complain(self, said: str) -> None:
        self.query_one("#wrong", Board).show(lambda _width, _height: (text(said, "bad"),))

    def _wish(self) -> Recruit:
        """What the form says. Raises ValueError for what cannot be."""
        given: dict[str, Any] = {}
        for name in _NUMBERS:
            typed = self.query_one(f"#{name}", Input).value.strip()
            if typed:
                try:
                    given[name] = int(typed)
                except ValueError:
                    raise ValueError(f"{name}: {typed!r} is no whole number") from None
        given["batch"] = self.query_one("#batch", Input).value.strip()
        provider, flavor = self.provider, self.flavor
        if provider is not None:
            given["provider"] = provider.name
        if flavor is not None:
            given |= {"region": flavor.region, "flavor": flavor.name}
        return Recruit.model_validate(given)

    # --- acts

    def on_button_pressed(self, _event: Button.Pressed) -> None:
        """The button."""
        self.action_recruit()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Enter in a field."""
        self.action_recruit()

    def action_recruit(self) -> None:
        """Recruit them."""
        try:
            wish = self._wish()
        except (ValidationError, ValueError) as error:
            self._complain(_said(error))
            return
        self._recruit(wish)

    @work(exclusive=True, group="recruit")
    async def _recruit(self, wish: Recruit) -> None:
        try:
            job: JobView = await self.cockpit.client.recruit(wish)
        except PytqError as error:
            self._complain(acts.told(error))
            return
        self.cockpit.say(f"job {job.id}: {words.clean(job.title)}")
        self.app.post_message(ShowJob(job.id))


def _said(error: ValueError) -> str:
    """What is wrong with a form, in which field."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{first['loc'][0]}: {first['msg']}"
    return str(error)
