"""Archives that nobody should unpack blindly, made byte by byte."""

import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

TarEntry = tuple[str, dict[str, Any], bytes]


def tar(*entries: TarEntry, **how: Any) -> bytes:
    """A tar of entries, each a name, attributes and content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **how) as archive:
        for name, attributes, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def plain(name: str, content: bytes = b"x") -> TarEntry:
    return name, {}, content


def folder(name: str) -> TarEntry:
    return name, {"type": tarfile.DIRTYPE}, b""


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> TarEntry:
    return name, {"type": kind, "linkname": target}, b""


def special(name: str, kind: bytes) -> TarEntry:
    return name, {"type": kind, "devmajor": 1, "devminor": 3}, b""


def zipped(*entries: tuple[str, bytes, int]) -> bytes:
    """A zip of entries, each a name, content and mode (0: a plain file)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return out.getvalue()


def encrypted_zip() -> bytes:
    data = bytearray(zipped(("a", b"x", 0)))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(signature) + offset
        data[at] |= 1
    return bytes(data)


def gzip_bomb(megabytes: int) -> bytes:
    """Zeros, as small as deflate can make them."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as file:
        for _ in range(megabytes):
            file.write(bytes(2**20))
    return out.getvalue()


def zip_bomb(megabytes: int) -> bytes:
    return zipped(("zeros", bytes(megabytes * 2**20), 0))


def overlapping_zip(times: int) -> bytes:
    """Many names for one and the same bytes, as the best bombs are made."""
    content = zlib.compress(bytes(2**20), 9)[2:-4]
    crc = zlib.crc32(bytes(2**20))
    name = b"a"
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(content), 2**20, 1, 0)
    body = local + name + content
    central = b""
    for number in range(times):
        label = b"%08d" % number
        central += struct.pack(
            "<4s6H3I5H2I",
            *(b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(content), 2**20),
            *(len(label), 0, 0, 0, 0, 0, 0),
        )
        central += label
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, times, times, len(central), len(body), 0)
    return body + central + end


def endless_header() -> bytes:
    """A tar whose first name never ends."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**30
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(64 * 2**20))


def damaged_tar() -> bytes:
    """Its second header is not what its checksum says; all before and after it is fine."""
    data = bytearray(tar(plain("a"), plain("b"), plain("c")))
    data[2 * 512 + 3] ^= 1
    return bytes(data)


def many_files(count: int) -> bytes:
    return gzip.compress(tar(*(folder(f"d{number}") for number in range(count))))


EVIL: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a way up": ("untar", lambda: tar(plain("../x")), "leads out of its folder"),
    "a way up inside": ("untar", lambda: tar(plain("a/../../x")), "leads out of its folder"),
    "an absolute name": ("untar", lambda: tar(plain("/etc/x")), "leads out of its folder"),
    "a folder above": ("untar", lambda: tar(folder("..")), "leads out of its folder"),
    "the same name twice": ("untar", lambda: tar(plain("a"), plain("a")), "comes twice"),
    "the same name, said otherwise": (
        "untar",
        lambda: tar(plain("a"), plain("./a")),
        "comes twice",
    ),
    "a file that is a folder": ("untar", lambda: tar(plain("a"), plain("a/b")), "something else"),
    "a folder that is a file": ("untar", lambda: tar(folder("a"), plain("a")), "comes twice"),
    "an absolute link": ("untar", lambda: tar(link("a", "/etc/passwd")), "link that leads out"),
    "a link up": ("untar", lambda: tar(link("a", "../x")), "link that leads out"),
    "a link to above": ("untar", lambda: tar(link("a", "..")), "link that leads out"),
    "a link up from within": ("untar", lambda: tar(link("d/a", "../../x")), "link that leads out"),
    "a link through a link": (
        "untar",
        lambda: tar(folder("d"), link("d/self", "."), link("a", "d/self/self/../../../x")),
        "link that leads out",
    ),
    "a file through a link": (
        "untar",
        lambda: tar(folder("d"), link("a", "d"), plain("a/b")),
        "something else",
    ),
    "a link twice": ("untar", lambda: tar(link("a", "b"), link("a", "c")), "comes twice"),
    "a hard link up": (
        "untar",
        lambda: tar(link("a", "../x", tarfile.LNKTYPE)),
        "leads out of its folder",
    ),
    "an absolute hard link": (
        "untar",
        lambda: tar(link("a", "/etc/passwd", tarfile.LNKTYPE)),
        "leads out of its folder",
    ),
    "a hard link to nothing": (
        "untar",
        lambda: tar(link("a", "b", tarfile.LNKTYPE)),
        "no file before it",
    ),
    "a hard link to a link": (
        "untar",
        lambda: tar(link("b", "c"), link("a", "b", tarfile.LNKTYPE)),
        "no file before it",
    ),
    "a hard link through a link": (
        "untar",
        lambda: tar(plain("d/f"), link("l", "d"), link("a", "l/f", tarfile.LNKTYPE)),
        "no file before it",
    ),
    "a device": ("untar", lambda: tar(special("null", tarfile.CHRTYPE)), "neither file"),
    "a disk": ("untar", lambda: tar(special("sda", tarfile.BLKTYPE)), "neither file"),
    "a pipe": ("untar", lambda: tar(special("pipe", tarfile.FIFOTYPE)), "neither file"),
    "a name without end": ("untar", endless_header, "have no end"),
    "half a tar": ("untar", lambda: tar(plain("a", bytes(20_000)))[:9_000], "cannot be unpacked"),
    "half a tar.gz": (
        "untar",
        lambda: gzip.compress(tar(plain("a", bytes(range(256)) * 400)))[:-20],
        "cannot be unpacked",
    ),
    "a tar.gz cut after its files": (
        "untar",
        lambda: gzip.compress(tar(plain("a")))[:-6],
        "cannot be unpacked",
    ),
    "half a tar.xz": ("untar", lambda: lzma.compress(tar(plain("a")))[:-9], "cannot be unpacked"),
    "a tar that is damaged half-way": ("untar", damaged_tar, "cannot be unpacked"),
    "a tar.zst": (
        "untar",
        lambda: b"\x28\xb5\x2f\xfd" + bytes(99),
        "needs Python 3.14|cannot be unpacked",
    ),
    "no tar": ("untar", lambda: b"<html>not found</html>" * 50, "cannot be unpacked"),
    "nothing at all": ("untar", lambda: b"", "cannot be unpacked"),
    "a tar bomb": ("untar", lambda: gzip_bomb(300), "as only bombs do"),
    "a tar of one huge file": (
        "untar",
        lambda: gzip.compress(tar(plain("zeros", bytes(300 * 2**20))), 9),
        "as only bombs do",
    ),
    "a way up in a zip": ("unzip", lambda: zipped(("../x", b"x", 0)), "leads out of its folder"),
    "an absolute name in a zip": ("unzip", lambda: zipped(("/x", b"x", 0)), "leads out"),
    "the same name twice in a zip": (
        "unzip",
        lambda: zipped(("a", b"x", 0), ("./a", b"y", 0)),
        "comes twice",
    ),
    "a link out of a zip": (
        "unzip",
        lambda: zipped(("a", b"../x", stat.S_IFLNK | 0o777)),
        "link that leads out",
    ),
    "a device in a zip": (
        "unzip",
        lambda: zipped(("a", b"", stat.S_IFCHR | 0o666)),
        "neither file",
    ),
    "a zip with a password": ("unzip", encrypted_zip, "encrypted"),
    "no zip": ("unzip", lambda: b"<html>not found</html>", "cannot be unpacked"),
    "half a zip": ("unzip", lambda: zipped(("a", b"x" * 999, 0))[:80], "cannot be unpacked"),
    "a zip bomb": ("unzip", lambda: zip_bomb(300), "as only bombs do"),
    "a zip of one thing many times": (
        "unzip",
        lambda: overlapping_zip(300),
        "as only bombs do|cannot be unpacked",
    ),
    "a gzip bomb": ("gunzip", lambda: gzip_bomb(300), "as only bombs do"),
    "half a gzip": ("gunzip", lambda: gzip.compress(b"x" * 9999)[:-5], "cannot be unpacked"),
    "a gzip with a wrong sum": (
        "gunzip",
        lambda: gzip.compress(b"x" * 99)[:-8] + bytes(8),
        "cannot be unpacked",
    ),
    "no gzip": ("gunzip", lambda: b"<html>not found</html>", "cannot be unpacked"),
}
