"""PYTQ as pip installs it, in one version after another, without a network."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Final

from pytq import __version__

CHECKOUT: Final = Path(__file__).parents[2]
METADATA: Final = "Metadata-Version: 2.1\nName: pytq\nVersion: {}\n"
WHEEL: Final = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
ENTRY_POINTS: Final = "[console_scripts]\npytq = pytq.cli.main:main\n"


class Installed:
    """A virtual environment of its own for PYTQ; what PYTQ needs is borrowed from this one."""

    def __init__(self, place: Path) -> None:
        self.python = place / "venv/bin/python"
        self._wheels = place / "wheels"
        self._wheels.mkdir()
        venv.create(place / "venv", symlinks=True)
        (packages,) = (place / "venv").glob("lib/python*/site-packages")
        borrowed = [path for path in sys.path if path.endswith("site-packages")]
        (packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n")

    @property
    def words(self) -> list[str]:
        """The command `pytq`."""
        return [str(self.python.with_name("pytq"))]

    def install(self, version: str) -> None:
        """`pip install --upgrade` of this checkout, as if it were that version."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--upgrade"]
        wheel = str(self._build(version))
        subprocess.run([*pip, "--no-deps", "--no-index", "-qq", wheel], check=True, timeout=60)
        said = subprocess.run([*self.words, "--version"], capture_output=True, check=True)
        assert version in said.stdout.decode()

    def _build(self, version: str) -> Path:
        """A wheel is a zip; building one with its own tools would need the network."""
        wheel = self._wheels / f"pytq-{version}-py3-none-any.whl"
        info = f"pytq-{version}.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path in sorted((CHECKOUT / "pytq").rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    data = path.read_bytes()
                    if path == CHECKOUT / "pytq/__init__.py":
                        data = data.replace(__version__.encode(), version.encode())
                    archive.writestr(str(path.relative_to(CHECKOUT)), data)
            archive.writestr(f"{info}/METADATA", METADATA.format(version))
            archive.writestr(f"{info}/WHEEL", WHEEL)
            archive.writestr(f"{info}/entry_points.txt", ENTRY_POINTS)
            archive.writestr(f"{info}/RECORD", "")
        return wheel
