"""The table of machines that a provider offers, and what a wish for some comes to. Pure."""

from typing import Final

from pytq.schema.recruit import Flavor, ProviderView, Recruit
from pytq.tui import rates, words
from pytq.tui.cells import Cell, Row, text
from pytq.tui.columns import Column
from pytq.tui.model import Store

COLUMNS: Final = (
    Column("name", "MACHINE", 12, flex=2, most=40),
    Column("cpus", "CPUS", 5, right=True),
    Column("memory", "MEMORY", 8, right=True),
    Column("disk", "DISK", 8, rank=1, right=True),
    Column("gpus", "GPUS", 4, rank=3, right=True),
    Column("price", "AN HOUR", 11, rank=2, right=True),
    Column("available", "LEFT", 5, rank=4, right=True),
)


def of(provider: ProviderView, region: str | None) -> list[Flavor]:
    """What a provider offers in a region, the small ones first."""
    found = [one for one in provider.flavors if region is None or one.region == region]
    return sorted(found, key=lambda one: (one.cpus, one.memory, one.name))


def row(flavor: Flavor, currency: str | None) -> Row:
    """A kind of machine as a row."""
    left = "" if flavor.available is None else str(flavor.available)
    cells: tuple[Cell, ...] = (
        text(words.clean(flavor.name), "bold"),
        text(flavor.cpus),
        text(words.size(flavor.memory)),
        text(words.size(flavor.disk)),
        text(flavor.gpus or "", "accent"),
        text(price(flavor.price, currency)),
        text(left, "warn" if flavor.available == 0 else "dim"),
    )
    return Row(flavor.name, cells)


def price(amount: float | None, currency: str | None) -> str:
    """What an hour costs, where that is known."""
    return "" if amount is None else f"{amount:.3g} {words.clean(currency or '')}".strip()


def needy(store: Store) -> str:
    """The batch that needs workers most: tasks wait and nobody is there; else most tasks wait."""
    waiting = [batch for batch in store.batches.values() if batch.counts.pending]
    alone = [batch for batch in waiting if not batch.workers]
    best = max(alone or waiting, key=lambda batch: batch.counts.pending, default=None)
    return "default" if best is None else best.name


def summary(wish: Recruit, flavor: Flavor | None, currency: str | None, store: Store) -> list[str]:
    """What a wish comes to, in a few words each."""
    if flavor is None:
        return [f"{words.plural(wish.count, 'worker')} into {wish.batch}"]
    at_once = wish.concurrency or max(1, flavor.cpus)
    memory = words.size(wish.count * flavor.memory)
    parts = [
        f"{words.plural(wish.count, 'worker')} into {wish.batch}",
        f"{words.plural(wish.count * flavor.cpus, 'CPU')}, {memory}",
        f"{words.plural(wish.count * at_once, 'task')} at once",
    ]
    if flavor.price is not None:
        parts.append(f"{price(wish.count * flavor.price, currency)} an hour")
    batch = store.batches.get(wish.batch)
    if batch is not None and rates.left(batch.counts):
        parts.append(f"for {words.plural(rates.left(batch.counts), 'open task')}")
    return parts
