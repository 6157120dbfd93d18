"""A small Textual app that offers a file, as the cockpit does when something is saved."""

import io

from textual.app import App


class Offering(App[None]):
    def key_d(self) -> None:
        self.deliver_text(io.StringIO("task;status\n" * 20_000), save_filename='tasks "7".csv')


if __name__ == "__main__":
    Offering().run()
