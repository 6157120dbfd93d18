"""The overview: how things stand, at one look."""

from collections.abc import Iterable
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.widget import Widget

from pytq.tui.alerts import GLYPHS, Alert, alerts
from pytq.tui.cells import Row, Span, line, text
from pytq.tui.columns import Column
from pytq.tui.filters import TaskQuery, parse_tasks
from pytq.tui.messages import ShowBatch, ShowJob, ShowTasks, ShowWorkers
from pytq.tui.model import Kind
from pytq.tui.panels import overview
from pytq.tui.screens.page import Page
from pytq.tui.tables import batches
from pytq.tui.tables.listing import ListedRows, Order
from pytq.tui.widgets.board import Board
from pytq.tui.widgets.painting import entitle, subtitle
from pytq.tui.widgets.table import Table

_ALERT_COLUMNS: Final = (Column("level", "", 1), Column("text", "", 20, flex=1))
_ALERTS_TALL, _ALERTS_SHORT = 0.2, 0.13  # of the screen, for alerts at the most
_ORDER: Final = Order("left", turned=True)  # what takes longest first


class OverviewPage(Page):
    """Throughput, counts, alerts, workers, batches, and what happened last."""

    PLACE = "overview"
    AUTO_FOCUS = "#batches"
    WHAT = "How things stand at one look; Enter goes to what the cursor is on."
    LAYOUT: ClassVar[str] = """
    OverviewPage {
        #panes { layout: horizontal; height: 1fr; padding: 0 1; }
        #left { width: 2fr; height: 100%; }
        #right { width: 1fr; height: 100%; margin-left: 1; }
        .pane { border: round $edge; padding: 0 1; border-title-color: $foreground;
                border-subtitle-color: $dim; &:focus { border: round $primary; } }
        #throughput { height: 1fr; }
        #batches { height: 1fr; }
        #tasks { height: 8; }
        #fleet { height: 1fr; }
        #news { height: 1fr; }
        &.-tall #throughput { height: 2fr; }
        &.-tall #batches { height: 3fr; }
        &.-narrow #panes { layout: vertical; padding: 0; }
        &.-narrow #left { width: 100%; height: 1fr; }
        &.-narrow #right { width: 100%; height: 4; margin: 0; }
        &.-narrow #tasks, &.-narrow #news { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "next pane", tooltip="go to the next pane"),
    ]

    def body(self) -> Iterable[Widget]:
        """Six panes."""
        left = Vertical(
            Board(id="throughput", classes="pane", title="Tasks ended a minute"),
            _pane(Table(_ALERT_COLUMNS, id="alerts", classes="pane", titled=False), "Alerts"),
            _pane(Table(batches.COLUMNS, id="batches", classes="pane"), "Batches"),
            id="left",
        )
        right = Vertical(
            Board(id="tasks", classes="pane", title="Tasks"),
            Board(id="fleet", classes="pane", title="Workers"),
            Board(id="news", classes="pane", title="Latest"),
            id="right",
        )
        yield Container(left, right, id="panes")

    def on_mount(self) -> None:
        """The batches have the keys."""
        self.query_one("#batches").focus()
        super().on_mount()

    def show(self, touched: frozenset[Kind]) -> None:
        """Show what has changed."""
        store = self.at.store
        if touched & {"history", "link"}:
            points = store.points()
            throughput = self.query_one("#throughput", Board)
            throughput.show(lambda w, h: overview.throughput(points, w, h))
            subtitle(throughput, overview.pace(points))
        if "server" in touched:
            self.query_one("#tasks", Board).show(lambda w, _: overview.tasks(store, w))
        if "workers" in touched:
            self.query_one("#fleet", Board).show(lambda w, h: overview.fleet(store, w, h))
        if touched & {"events", "jobs", "time"}:
            at = self.at
            self.query_one("#news", Board).show(lambda w, h: overview.news(at, w, h))
        if touched & {"batches", "time"}:
            self._show_batches()
        if touched & {"workers", "batches", "jobs", "time"}:
            self._show_alerts()

    def _show_batches(self) -> None:
        table = self.query_one("#batches", Table)
        table.empty = NO_BATCH
        table.show_rows(batches.LISTING.rows(self.at, "", _ORDER))

    def _show_alerts(self) -> None:
        found = alerts(self.at.store, self.at.now)
        self._alerts = {f"{alert.kind} {alert.name} {alert.text}": alert for alert in found}
        table = self.query_one("#alerts", Table)
        table.empty = ((text("✓ nothing to worry about", "good")),) if self.at.store.server else ()
        table.show_rows(ListedRows.of([_row(key, alert) for key, alert in self._alerts.items()]))
        entitle(table, f"Alerts: {len(found)}" if found else "Alerts")
        share = _ALERTS_TALL if self.has_class("-tall") else _ALERTS_SHORT
        table.styles.height = min(max(1, len(found)), int(self.size.height * share)) + 2

    def on_table_opened(self, message: Table.Opened) -> None:
        """Go to what it is about."""
        if message.table.id == "batches":
            self.post_message(ShowTasks(TaskQuery(batch=str(message.key))))
        elif (alert := self._alerts.get(str(message.key))) is not None:
            self.post_message(_where(alert))


def _pane(table: Table, title: str) -> Table:
    entitle(table, title)
    return table


def _row(key: str, alert: Alert) -> Row:
    return Row(key, (text(GLYPHS[alert.level], alert.level), text(alert.text)))


def _where(alert: Alert) -> Message:
    """What shows more about an alert."""
    if alert.kind == "worker":
        return ShowWorkers(alert.name)
    if alert.kind == "batch":
        return ShowBatch(alert.name)
    if alert.kind == "job":
        return ShowJob(int(alert.name))
    return ShowTasks(parse_tasks(alert.name))


NO_BATCH: Final = (
    text("no batch yet", "bold"),
    (),
    line(Span("queue a first task with  ", "dim"), Span("pytq launch echo hello", "accent")),
)
