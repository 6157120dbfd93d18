"""Leaving, where the TUI was started together with a server."""

from pytq.tui.screens.asking import Choose


class Leaving(Choose):
    """What becomes of the server and the worker."""

    def __init__(self, running: str) -> None:
        super().__init__(
            f"Leave PYTQ. {running}",
            (
                ("stop", "s", "stop the server and its worker too; the queue is kept"),
                ("leave", "l", "leave them running; `pytq tui` comes back"),
                ("stay", "esc", "stay here"),
            ),
        )
