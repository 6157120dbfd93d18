"""Bugs to be planted, so that it can be seen that the simulation finds them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final
from unittest import mock

from pytq.schema.frames import Welcome
from pytq.server.dispatcher import Dispatcher
from pytq.server.liveness import Liveness
from pytq.server.store import leasing, reporting
from pytq.worker.keeper.holdings import Holdings as Kept
from pytq.worker.machine import Machine
from pytq.worker.outbox import Outbox

Planted = AbstractContextManager[Any]
NETWORK: Final = ("partition", "agent_frozen")


def no_fence() -> Planted:
    """Whoever speaks of a task is believed, whether or not it is theirs any more."""
    introduce = Dispatcher._introduce

    def keep_all(self: Dispatcher, member: Any, open_now: Any, held: Any) -> Welcome:
        welcome = introduce(self, member, open_now, held)
        return welcome.model_copy(update={"keep": held, "fenced": []})

    both = ExitStack()
    both.enter_context(mock.patch.object(Dispatcher, "_introduce", keep_all))
    both.enter_context(mock.patch.object(reporting, "_is_mine", lambda row, *_: row is not None))
    return both


def endless_lease() -> Planted:
    """The keeper lets tasks run, whoever has not been heard of."""
    return mock.patch.object(Kept, "expired", property(lambda _: False))


def hasty_server() -> Planted:
    """The server hands on long before the lease has passed."""
    sweep = Liveness.sweep
    return mock.patch.object(Liveness, "sweep", lambda self, now: sweep(self, now * 20))


def forgetful_outbox() -> Planted:
    """An outcome is told once, whether or not anybody has heard it."""
    return mock.patch.multiple(Outbox, begin_anew=lambda *_: None, repeat=lambda *_: None)


def lost_in_doubt() -> Planted:
    """A lease whose commit seemed to fail is not looked for."""
    return mock.patch.object(leasing, "_is_astray", return_value=False)


def more_than_slots() -> Planted:
    """A worker starts one more than it was told to."""
    change = Machine._change

    def widen(self: Machine, settings: Any, now: float) -> None:
        more = {"concurrency": settings.concurrency + 1}
        change(self, settings.model_copy(update=more), now)

    return mock.patch.object(Machine, "_change", widen)


# Each with the faults that bring it to light soonest; without any: all of them.
BUGS: Final[dict[Callable[[], Planted], tuple[str, ...]]] = {
    no_fence: NETWORK,
    endless_lease: ("agent_killed",),  # a living agent looks after it too
    hasty_server: NETWORK,
    forgetful_outbox: ("connection_cut", "partition"),
    lost_in_doubt: ("database_in_doubt",),
    more_than_slots: (),
}
