"""Choosing a signal."""

from pytq.tui.screens.asking import Choose


class SignalChoice(Choose):
    """Pause, go on, end or kill."""

    def __init__(self, whom: str) -> None:
        super().__init__(
            f"Send which signal to {whom}?",
            (
                ("pause", "p", "pause: stop it where it is (SIGSTOP)"),
                ("resume", "r", "resume: let it go on (SIGCONT)"),
                ("term", "t", "end: SIGTERM, and SIGKILL if it does not listen"),
                ("kill", "k", "kill: SIGKILL at once"),
            ),
        )
