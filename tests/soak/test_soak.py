"""The soak, shortly: `make soak` lets it go on for ten minutes on each database."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

SOAK: Final = Path(__file__).parent / "soak.py"
SECONDS: Final = 20


def why_not() -> str:
    """Why it cannot run here; empty when it can."""
    if os.geteuid() != 0:
        return "namespaces are made by root"
    missing = [name for name in ("unshare", "nsenter", "ip", "iptables") if not shutil.which(name)]
    if missing:
        return f"not installed: {', '.join(missing)}; scripts/system-packages installs them"
    script = "mount -t tmpfs none /mnt && iptables -L"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
        capture_output=True,
        check=False,
    )
    return tried.stderr.decode().strip() if tried.returncode else ""


@pytest.mark.timeout(400)
def test_whatever_goes_wrong_nothing_is_lost() -> None:
    """Faults of all kinds under load: nothing lost, nothing twice, every outcome true, no trace."""
    if reason := why_not():
        pytest.skip(reason)
    minutes = str(SECONDS / 60)
    done = subprocess.run(
        [sys.executable, SOAK, "--minutes", minutes, "--rate", "20"],
        capture_output=True,
        check=False,
        timeout=380,  # before pytest loses its patience, and leaves all of it running
    )

    told = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, told
    assert "wrong: nothing" in told
