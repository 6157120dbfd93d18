"""ENA's portal and its file servers: the real file-report format, over the lying web server.

Files are in memory for http and below a folder for an FTP server. The report names its own host
with its port, so the Fetcher needs `PYTQ_ENA_HTTPS=http://{host}/{path}`.
"""

import json
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from servers.web import Asked, LyingServer, Served

REPORT = "/ena/portal/api/filereport"


@dataclass
class EnaDouble:
    """Runs by accession."""

    web: LyingServer
    root: Path | None = None  # what an FTP server shows
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: int = 0  # so many questions are answered by a 500 first
    empties: int = 0  # and so many by an empty list
    questions: int = 0

    def __post_init__(self) -> None:
        self.web.handlers[REPORT] = self._answer

    @property
    def environment(self) -> dict[str, str]:
        """What a worker needs to ask here instead."""
        return {
            "PYTQ_ENA_URL": f"{self.web.url}{REPORT}",
            "PYTQ_ENA_HTTPS": "http://{host}/{path}",
        }

    def add(self, accession: str, files: dict[str, bytes], kind: str = "fastq") -> list[str]:
        """Add files of a run, in this order; their paths on the servers."""
        folder = f"vol1/{kind}/{accession[:6]}/{accession}"
        paths = [f"{folder}/{name}" for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            self.web.files[f"/{path}"] = Served(content)
            if self.root is not None:
                place = self.root / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        row = self.rows.setdefault(accession, {"run_accession": accession})
        row[f"{kind}_ftp"] = ";".join(f"127.0.0.1:{self.web.port}/{path}" for path in paths)
        row[f"{kind}_md5"] = ";".join(
            md5(content, usedforsecurity=False).hexdigest() for content in files.values()
        )
        row[f"{kind}_bytes"] = ";".join(str(len(content)) for content in files.values())
        return [f"/{path}" for path in paths]

    def _answer(self, asked: Asked) -> tuple[int, bytes, str]:
        self.questions += 1
        if self.failures > 0:
            self.failures -= 1
            return 500, b"", "text/plain"
        query = parse_qs(urlsplit(asked.path).query)
        fields = query["fields"][0].split(",")
        assert query["result"] == ["read_run"]
        assert query["format"] == ["json"]
        row = self.rows.get(query["accession"][0])
        if self.empties > 0:
            self.empties -= 1
            row = None
        rows = [] if row is None else [{name: row.get(name, "") for name in fields}]
        return 200, json.dumps(rows).encode(), "application/json"
