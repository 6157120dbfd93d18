"""Fetching a long list of tasks, page by page, for what is visible."""

import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from pytq.client import Client
from pytq.schema.problems import PytqError
from pytq.tui.acts import told
from pytq.tui.filters import TaskQuery
from pytq.tui.paging import Ask, Window
from pytq.tui.tables.tasks import TaskRow, order

_REFRESH_SECONDS: Final = 0.5
_EASE: Final = 4.0  # a slow server is left alone for so many times what it needed


class Lister:
    """The visible part of the list of tasks that a query finds.

    `changed` is called whenever there is something else to show, with the number of places by
    which rows have moved; `start` runs a coroutine in the background.
    """

    def __init__(
        self,
        client: Client,
        changed: Callable[[int], None],
        start: Callable[[Callable[[], Coroutine[Any, Any, None]]], object],
    ) -> None:
        self._client = client
        self._changed = changed
        self._start = start
        self._asked_at = 0.0
        self._took = 0.0
        self.query = TaskQuery()
        self.window: Window[TaskRow] = self._new(None)
        self.trouble = ""

    def _new(self, total: int | None) -> Window[TaskRow]:
        query = self.query
        return Window(order(query.sort, oldest_first=query.oldest_first), total)

    def begin(self, query: TaskQuery, total: int | None, visible: int) -> None:
        """Show what another query finds, from its beginning; `visible` rows have room."""
        self.query, self.trouble = query, ""
        self.window = self._new(total)
        self.window.look(0, visible)
        self.pump()

    def look(self, first: int, last: int, *, to_end: bool = False) -> None:
        """These rows are visible now."""
        self.window.look(first, last)
        if to_end and not self.window.counted:
            self._fetch(self.window.wanted_end())
        else:
            self.pump()

    def refresh(self) -> bool:
        """Fetch what is visible anew, unless that was done just now; tells whether."""
        wait = max(_REFRESH_SECONDS, _EASE * self._took)
        if self.window.asked is not None or time.monotonic() - self._asked_at < wait:
            return False
        self.window.refresh()
        self.pump()
        return True

    def pump(self) -> None:
        """Fetch the next page that is missing, if none is on its way."""
        self._fetch(self.window.wanted())

    def _fetch(self, ask: Ask | None) -> None:
        if ask is not None:
            self._asked_at = time.monotonic()
            self._start(partial(self._page, self.window, ask))

    async def _page(self, window: Window[TaskRow], ask: Ask) -> None:
        wanted = self.query.page(ask.after, ask.limit, reverse=ask.reverse)
        try:
            page = await self._client.list_tasks(wanted)
        except PytqError as error:
            window.failed()
            if window is self.window:
                self.trouble = told(error)
                self._changed(0)
            return
        if window is self.window:  # nobody has asked for something else meanwhile
            self._took = time.monotonic() - self._asked_at
            self.trouble = ""
            moved = window.take([TaskRow.of(task) for task in page.items], page.next)
            self._changed(moved)
            self.pump()
