"""Lets the tests here use whole systems and real services."""

import sys
from pathlib import Path

for folder in (".", "process"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
