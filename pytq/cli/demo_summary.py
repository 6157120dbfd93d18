"""The demo's last task: reads what the others made and writes a summary. Standard library only.

It runs as a task of its own: `python summary.py INPUT OUTPUT`, with gz/, sha256/ and wc/ below
INPUT.
"""

import gzip
import hashlib
import sys
from pathlib import Path

_LARGEST = 10


def main() -> int:
    """Write summary.txt; 1 if an archive does not hold what was checksummed."""
    place, results = Path(sys.argv[1]), Path(sys.argv[2])
    archives = sorted((place / "gz").glob("*.gz"))
    rows: list[tuple[int, int, int, str]] = []
    wrong = 0
    for archive in archives:
        name = archive.name.removesuffix(".gz")
        plain = gzip.decompress(archive.read_bytes())
        noted = (place / "sha256" / f"{name}.sha256").read_text().split()[0]
        lines, _words, size = map(int, (place / "wc" / f"{name}.wc").read_text().split())
        wrong += hashlib.sha256(plain).hexdigest() != noted or size != len(plain)
        rows.append((size, archive.stat().st_size, lines, name))
    text = summary(rows, wrong)
    (results / "summary.txt").write_text(text)
    sys.stdout.write(text)
    return 1 if wrong else 0


def summary(rows: list[tuple[int, int, int, str]], wrong: int) -> str:
    """The table of (size, packed, lines, name) as text."""
    before, after = sum(row[0] for row in rows), sum(row[1] for row in rows)
    share = after / before if before else 0.0
    shown = [f"{'bytes':>10} {'packed':>10} {'lines':>8}  file"]
    shown += [
        f"{size:>10,} {packed:>10,} {lines:>8,}  {name}"
        for size, packed, lines, name in sorted(rows, reverse=True)[:_LARGEST]
    ]
    shown += [
        f"{len(rows)} files, {sum(row[2] for row in rows):,} lines",
        f"{before:,} bytes before, {after:,} after: {share:.1%}",
        f"{len(rows) - wrong} archives unpack to what was checksummed, {wrong} do not",
    ]
    return "\n".join(shown) + "\n"


if __name__ == "__main__":
    sys.exit(main())
