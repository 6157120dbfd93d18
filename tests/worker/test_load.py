"""How a worker's machine is doing: looked at for real, counted right."""

from pathlib import Path

from pytq.worker import load


def test_tells_of_the_disks_that_can_fill(tmp_path: Path) -> None:
    """The file system worked on comes first, each is told once, by where it begins."""
    found = load.measure(tmp_path).disks

    assert Path(found[0].path).stat().st_dev == tmp_path.stat().st_dev
    assert len({Path(disk.path).stat().st_dev for disk in found}) == len(found)
    assert all(Path(disk.path).is_mount() for disk in found)
    assert all(0 < disk.free <= disk.total for disk in found)


def test_a_disk_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    """A folder that has gone takes nothing else along."""
    assert [disk.path for disk in load.disks(tmp_path / "gone")][:1] == ["/"]


def test_rates_are_bytes_a_second_since_the_last_look() -> None:
    """Each counter's growth by the time that has passed; one that began anew is no loss."""
    before = load.Counted(at=10.0, received=1_000, sent=500, read=70, written=9_000)
    now = load.Counted(at=12.0, received=5_000, sent=500, read=71, written=10)

    assert load.rates(before, now) == {"received": 2_000, "sent": 0, "read": 0, "written": 0}
    assert load.rates(now, now) == {}


def test_counters_only_grow(tmp_path: Path) -> None:
    """Two looks at the real machine, the later one never smaller."""
    before = load.count()
    (tmp_path / "file").write_bytes(b"x" * 100_000)

    assert all(new >= old for old, new in zip(before, load.count(), strict=True))
