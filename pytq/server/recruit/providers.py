"""What a provider of machines has to be able to do."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytq.schema.recruit import Flavor, ProviderView

Say = Callable[[str], None]  # puts a line into a job's log


class ProviderError(Exception):
    """Why a provider could not do what it was asked for; the text is fit for people."""


@dataclass(frozen=True, slots=True)
class Order:
    """Machines to be made, a worker on each."""

    names: Sequence[str]  # of the workers
    flavor: Flavor
    batch: str
    concurrency: int
    prefetch: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that a provider has made."""

    worker: str
    region: str
    flavor: str
    alive: bool  # False: it has ended by itself, and no worker will come from it
    detail: str = ""  # why, if it has


class Provider(Protocol):
    """Somebody who has machines."""

    @property
    def name(self) -> str:
        """What people call it."""

    async def view(self) -> ProviderView:
        """What it has; why it cannot be used now, if so. Takes seconds at most, and never fails."""

    def create(self, order: Order, say: Say) -> AsyncGenerator[str, None]:
        """Make machines with a worker on each; gives a worker's name once that was started.

        Raises `ProviderError` for those that could not be made, after all that could. When it is
        closed early, what is half made is taken back.
        """

    async def destroy(self, worker: str, say: Say) -> None:
        """Give the machine of a worker back, whatever runs there; harmless where there is none."""

    async def machines(self) -> Sequence[Machine]:
        """The machines that it has made, also before the server was restarted."""
