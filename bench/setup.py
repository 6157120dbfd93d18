"""Prepares the peers: a venv of their own in .cache, and a Redis server's binary."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache"
VENV = CACHE / "bench-venv"
REQUIREMENTS = HERE / "requirements.txt"
STAGING_VENV = CACHE / "staging-venv"
STAGING_REQUIREMENTS = HERE / "requirements-staging.txt"


def peer_python():
    """The Python that has the peers installed; installs them when the pins have changed."""
    return _installed(VENV, REQUIREMENTS)


def staging_python():
    """The Python beside which the peers of staging are installed."""
    return _installed(STAGING_VENV, STAGING_REQUIREMENTS)


def _installed(home, requirements):
    python, stamp = home / "bin" / "python", home / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        print("installing the peers into", home, file=sys.stderr, flush=True)
        venv.create(home, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", requirements], check=True)
        stamp.write_text(requirements.read_text())
    return python


def redis_binary():
    """A `redis-server`. Debian's package redis-tools has it without its service.

    That package's `redis-check-rdb` is the very same program and looks at the name it is called
    by; so nothing is enabled, started or listening beside what the bench starts itself.
    """
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    twin = shutil.which("redis-check-rdb") or _install_redis_tools()
    named = CACHE / "redis" / "redis-server"
    named.parent.mkdir(parents=True, exist_ok=True)
    named.unlink(missing_ok=True)
    named.symlink_to(twin)
    return named


def _install_redis_tools():
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit("bench: there is no redis-server here; install one, or use --only without celery")
    print("installing redis-tools", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=env)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "redis-tools"]
    subprocess.run(install, check=True, env=env, stdout=subprocess.DEVNULL)
    return shutil.which("redis-check-rdb")
