"""What a command said last: the lines that explain its failure, made harmless. Pure.

They travel in the outcome's detail, so that a list of failures tells why without another look.
"""

import re
from typing import Final

BYTES: Final = 2048  # of the stream's end, to look at
LINES: Final = 3
CHARS: Final = 500
CUT: Final = "…"
BREAK: Final = " ⏎ "  # between two lines, for the detail is one

# What terminals obey: CSI, OSC and its kin up to their end, and the short ones.
_ESCAPES: Final = re.compile(
    "\x1b(?:\\[[0-?]*[ -/]*[@-~]|[\\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?|[ -/]*[0-~])"
)


def last_words(data: bytes) -> str:
    """The last lines of the end of a stream as one printable line; empty when it says nothing."""
    text = _ESCAPES.sub("", data.decode(errors="replace"))
    lines = [_printable(line) for line in text.split("\n")]
    said = BREAK.join([line for line in lines if line][-LINES:])
    return said if len(said) <= CHARS else CUT + said[len(CUT) - CHARS :]


def _printable(line: str) -> str:
    """As a terminal would leave it standing: of a progress bar, what was drawn last."""
    line = line.rstrip().rpartition("\r")[2].expandtabs(4)
    tamed = "".join(char if char.isprintable() else "·" for char in line)
    return tamed.strip()
