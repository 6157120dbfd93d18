"""Looks: every screen, at 80x24 and at 200x50, is the picture that the documentation shows."""

from pathlib import Path

import pytest
import scenes

IMAGES = Path(__file__).parents[2] / "docs" / "images"


@pytest.mark.parametrize("size", scenes.SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scene", scenes.SCENES, ids=lambda scene: scene.name)
async def test_looks(scene: scenes.Scene, size: tuple[int, int], tmp_path: Path) -> None:
    """A screen looks as in its picture; if it is to look otherwise, `make screenshots`."""
    name = f"{scene.name}-{size[0]}x{size[1]}.svg"
    taken = await scenes.picture(scene, size)
    if taken != (IMAGES / name).read_text():
        (tmp_path / name).write_text(taken)
        pytest.fail(f"{tmp_path / name} differs from docs/images/{name}; look at both")


async def test_pictures_ask_no_host_for_anything() -> None:
    """A picture in the documentation loads nothing from elsewhere."""
    for file in IMAGES.glob("*.svg"):
        assert "url(http" not in file.read_text(), file.name
