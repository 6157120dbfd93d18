"""The terminal that may go away: a closed window or a lost connection never holds us up."""

from io import TextIOWrapper
from typing import IO, Any, cast

from textual.drivers.linux_driver import LinuxDriver


class LastingFile:
    """A file to which writing never fails: what cannot be written any more is dropped.

    Textual's thread that writes would end with the first error; the application then waits for
    ever for room in a queue that nobody empties.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write, as far as there is somebody to read it."""
        try:
            return self._file.write(text)
        except (OSError, ValueError):  # the terminal is gone, or the file is closed
            return len(text)

    def flush(self) -> None:
        """Write what is still held back, likewise."""
        try:
            self._file.flush()
        except (OSError, ValueError):
            return

    def fileno(self) -> int:
        """The file's own number."""
        return self._file.fileno()


class TerminalDriver(LinuxDriver):
    """Textual's own driver, which outlives its terminal for as long as it takes to end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self._file is not None:
            self._file = cast("TextIOWrapper", LastingFile(self._file))
