"""Which columns of a table there is room for, and how wide each is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

_ROOMY: Final = 120  # cells of a table that can afford wider gaps


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its least width, when it goes, and what it takes of the room left over."""

    key: str
    title: str
    width: int
    rank: int = 0  # 0 always stays; of the others the highest go first
    flex: int = 0  # its share of the room left over
    most: int = 1_000
    right: bool = False  # numbers line up at the right


class Placed(NamedTuple):
    """A column that is shown: which one, and its width."""

    column: int
    width: int


def gap(room: int) -> int:
    """How many cells lie between two columns."""
    return 2 if room >= _ROOMY else 1


def fit(columns: Sequence[Column], room: int) -> list[Placed]:
    """The columns that fit into `room` cells, in their order, as wide as there is room for."""
    between = gap(room)
    shown = list(range(len(columns)))

    def needed() -> int:
        return sum(columns[index].width for index in shown) + between * (len(shown) - 1)

    droppable = sorted((i for i in shown if columns[i].rank), key=lambda i: (-columns[i].rank, -i))
    for index in droppable:
        if needed() <= room:
            break
        shown.remove(index)
    widths = {index: columns[index].width for index in shown}
    _share(columns, widths, room - needed())
    return [Placed(index, widths[index]) for index in shown]


def _share(columns: Sequence[Column], widths: dict[int, int], left: int) -> None:
    """Give the room left over to the columns that can use it, by their shares."""
    while left > 0:
        open_ = [i for i in widths if columns[i].flex and widths[i] < columns[i].most]
        if not open_:
            return
        shares = sum(columns[i].flex for i in open_)
        given = 0
        for index in open_:
            more = max(1, left * columns[index].flex // shares)
            more = min(more, columns[index].most - widths[index], left - given)
            widths[index] += more
            given += more
        left -= given
