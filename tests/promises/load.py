"""People who submit without end, and repeat what got no answer, as `pytq launch` does."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator

from sites import Site

CLIENTS = 4


class Load:
    """Clients in threads. `given` maps the name of each task to the id it was answered with."""

    def __init__(self, site: Site, command: str, address: str | None = None) -> None:
        self._site, self._command, self._address = site, command, address
        self.given: dict[str, int] = {}
        self.trouble: list[str] = []  # what clients heard, or that they heard nothing
        self.wrong: list[str] = []  # what must never happen
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._submit, args=(n,)) for n in range(CLIENTS)]

    def _submit(self, client: int) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            self._insist(f"c{client}-{number}")

    def _insist(self, name: str) -> None:
        """Submit one task until there is an answer that counts."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            body = {"command": self._command, "name": name}
            try:
                status, said, headers = self._site.call(
                    "POST", "/tasks", body, name, timeout=60, address=self._address
                )
            except (OSError, http.client.HTTPException) as error:
                self.trouble.append(repr(error))
                time.sleep(0.05)
                continue
            if status == http.HTTPStatus.CREATED:
                self.given[name] = said["ids"][0]
                return
            self.trouble.append(f"{status} {said['code']}")
            may_return = status in (401, 507) or (status == 503 and "Retry-After" in headers)
            if not may_return:
                self.wrong.append(f"{status} {said}")
                return
            time.sleep(0.05)
        self.wrong.append(f"{name}: no answer for long")

    def grown_by(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many more have been answered."""
        wanted, deadline = len(self.given) + count, time.monotonic() + seconds
        while len(self.given) < wanted:
            assert not self.wrong, self.wrong[:3]
            assert time.monotonic() < deadline, self.trouble[-3:]
            time.sleep(0.01)

    def check(self) -> list[int]:
        """Every task that was answered is there, and none twice; their ids."""
        assert self.wrong == []
        there: dict[str, list[int]] = {}
        after = ""
        while True:
            page = self._site.get(f"/tasks?limit=1000{after}")
            for one in page["items"]:
                there.setdefault(one["name"], []).append(one["id"])
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert there == {name: [number] for name, number in self.given.items()}
        return sorted(self.given.values())

    def all_ran_once(self, seconds: float = 90.0) -> None:
        """Every task that was answered is there, has begun once and ended well, and no other."""
        ids = self.check()
        assert {task["status"] for task in self._site.ended(ids, seconds)} == {"succeeded"}
        assert self._site.begun_once(ids)

    @contextlib.contextmanager
    def going_on(self) -> Iterator["Load"]:
        """Submit for as long as the block lasts; afterwards everything is answered."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join(120)
