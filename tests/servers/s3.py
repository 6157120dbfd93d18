"""S3 servers: moto's, in a thread; and Ceph's own gateway, where Ceph is installed.

Ceph keeps everything in memory here, without authentication among its daemons, on free ports of
loopback; it is the same gateway that clouds run, so it checks signatures and checksums.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

CEPH = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph")
STARTING_SECONDS = 60.0
CEPH_CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon}]
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
ms_mon_service_mode = crc
ms_mon_cluster_mode = crc
ms_bind_ipv6 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
run_dir = {home}
crash_dir = {home}
admin_socket = {home}/$name.$pid.asok
log_file = {home}/$name.log
pid_file = {home}/$name.pid
mon_data = {home}/mon
osd_data = {home}/osd
rgw_data = {home}/rgw
osd_objectstore = memstore
memstore_device_bytes = {memory}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
rgw_frontends = beast endpoint=127.0.0.1:{rgw}
rgw_override_bucket_index_max_shards = 1
rgw_dynamic_resharding = false
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 2
rgw_enable_usage_log = false
"""


@dataclass
class S3Server:
    """Where a server is, and who we are to it."""

    endpoint: str
    key: str = "test"
    secret: str = "not-a-secret"  # noqa: S105 - of a server that lives for a minute
    _client: Any = None

    @property
    def environment(self) -> dict[str, str]:
        """What a worker is told by its environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self) -> Any:
        """Another's client, to look at the server without the code under test."""
        if self._client is None:
            self._client = boto3.client(
                "s3",
                endpoint_url=self.endpoint,
                aws_access_key_id=self.key,
                aws_secret_access_key=self.secret,
                region_name="us-east-1",
                config=Config(s3={"addressing_style": "path"}),
            )
        return self._client

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()


@contextmanager
def moto() -> Iterator[S3Server]:
    """The server of moto, in a thread of this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with closing(S3Server(f"http://{host}:{port}")) as known:
            yield known
    finally:
        server.stop()


def has_ceph() -> bool:
    """Whether Ceph's programs are here: apt-get install ceph-mon ceph-osd ceph-common radosgw."""
    return all(shutil.which(program) for program in CEPH)


@contextmanager
def ceph(memory: int = 2 << 30) -> Iterator[S3Server]:
    """A Ceph cluster of one, and its S3 gateway."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pytq-ceph-")))
        mon, rgw = free_port(), free_port()
        fsid = str(uuid.uuid4())
        text = CEPH_CONFIGURATION.format(fsid=fsid, home=home, mon=mon, rgw=rgw, memory=memory)
        conf = home / "ceph.conf"
        conf.write_text(text)
        for folder in ("mon", "osd", "rgw"):
            (home / folder).mkdir()
        _start_ceph(stack, home, conf, fsid, mon)
        server = stack.enter_context(closing(S3Server(f"http://127.0.0.1:{rgw}")))
        wait_for(server.endpoint)
        keys = [f"--access-key={server.key}", f"--secret={server.secret}"]
        words = ["user", "create", "--uid=test", "--display-name=test", *keys]
        _run(["radosgw-admin", "-c", str(conf), *words])
        yield server


def _start_ceph(stack: ExitStack, home: Path, conf: Path, fsid: str, port: int) -> None:
    monmap = str(home / "monmap")
    where = f"[v2:127.0.0.1:{port}]"
    _run(["monmaptool", "--create", "--fsid", fsid, "--addv", "a", where, monmap])
    _run(["ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "-c", str(conf)])
    _keep(stack, home, ["ceph-mon", "-i", "a", "-c", str(conf), "-f"])
    osd = str(uuid.uuid4())
    _run(["ceph", "-c", str(conf), "--connect-timeout", "30", "osd", "new", osd])
    _run(["ceph-osd", "-i", "0", "-c", str(conf), "--mkfs", "--osd-uuid", osd])
    _keep(stack, home, ["ceph-osd", "-i", "0", "-c", str(conf), "-f"])
    _keep(stack, home, ["radosgw", "-c", str(conf), "-n", "client.admin", "-f"])


def _keep(stack: ExitStack, home: Path, words: list[str]) -> None:
    log = stack.enter_context((home / f"{words[0]}.out").open("wb"))
    process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    stack.callback(process.wait, 10)
    stack.callback(process.kill)


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=STARTING_SECONDS)


def wait_for(url: str) -> None:
    """Wait until somebody answers there."""
    deadline = time.monotonic() + STARTING_SECONDS
    while True:
        with contextlib.suppress(OSError), _ask(url):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody answers at {url}")
        time.sleep(0.2)  # another's daemon starts: there is no event to await


def _ask(url: str) -> Any:
    return urllib.request.urlopen(url, timeout=5)  # noqa: S310 - a URL of our own server


def free_port() -> int:
    """A port of loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
