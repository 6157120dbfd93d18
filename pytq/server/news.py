"""What commits have touched since somebody last looked: names only, to be looked at again."""

from dataclasses import dataclass, field

from pytq.server.store.changes import Changes


@dataclass(slots=True)
class Named:
    """What may have changed."""

    batches: set[str] = field(default_factory=set)
    workers: set[str] = field(default_factory=set)
    jobs: set[int] = field(default_factory=set)
    events: bool = False


class News:
    """Gathers names for as long as somebody listens."""

    def __init__(self) -> None:
        self.listening = False
        self._named = Named()

    def listen(self) -> None:
        """Begin to gather, from nothing."""
        self._named = Named()
        self.listening = True

    def ignore(self) -> None:
        """Gather no more."""
        self.listening = False

    def hear(self, changes: Changes) -> None:
        """Note what a commit touched."""
        if not self.listening:
            return
        named = self._named
        named.batches.update([batch for batch, _ in changes.moved])
        named.batches |= changes.batches
        named.workers |= changes.workers
        named.events = named.events or bool(changes.noted)

    def hear_of_job(self, job: int) -> None:
        """Note that a job has changed."""
        if self.listening:
            self._named.jobs.add(job)

    def take(self) -> Named:
        """What was named so far; from here on it is no news any more."""
        named, self._named = self._named, Named()
        return named

    def put_back(self, named: Named) -> None:
        """It could not be looked at: it is news still."""
        self._named.batches |= named.batches
        self._named.workers |= named.workers
        self._named.jobs |= named.jobs
        self._named.events = self._named.events or named.events
