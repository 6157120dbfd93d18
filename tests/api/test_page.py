"""The documentation page works on a machine without internet."""

import re
from importlib.resources import files

import pytest
from api_client import Client

from pytq.server.api.page import VERSION

VENDORED = {"swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css"}


async def test_everything_the_page_loads_is_here(client: Client) -> None:
    """Every address in the page is one of ours, and is answered with the right type."""
    async with client.get("/") as response:
        html = await response.text()
    addresses = re.findall(r'(?:src|href)="([^"]+)"', html)

    assert response.content_type == "text/html"
    assert len(addresses) == 7
    for address in addresses:
        assert re.match(r"/[^/]", address)
        async with client.get(address) as part:
            assert part.status == 200
            assert await part.read()


async def test_the_page_has_no_inline_script(client: Client) -> None:
    """The page needs no exception from the rule that scripts come as files."""
    async with client.get("/") as response:
        html = await response.text()

    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\son[a-z]+=|\sstyle=|javascript:", html)


def test_our_own_files_name_no_other_host() -> None:
    """What we add to Swagger UI asks nobody else, and switches its online validator off."""
    folder = files("pytq.server.api").joinpath("swagger")
    ours = {each.name for each in folder.iterdir()} - VENDORED - {"LICENSE", "README.md", "NOTICE"}
    texts = [folder.joinpath(name).read_bytes() for name in sorted(ours)]

    assert not [text for text in texts if b"//" in text.replace(b"// ", b"")]
    assert b"validatorUrl: null" in b"".join(texts)


def test_the_stylesheet_loads_nothing() -> None:
    """Fonts and pictures are inside the stylesheet or do not exist."""
    css = files("pytq.server.api").joinpath("swagger", "swagger-ui.css").read_text()

    assert {"data"} == set(re.findall(r"url\([\"']?([a-z]+):", css))
    assert "@import" not in css


def test_the_licence_travels_along() -> None:
    """Apache-2.0 asks that LICENSE and NOTICE accompany the files."""
    folder = files("pytq.server.api").joinpath("swagger")

    assert "Apache License" in folder.joinpath("LICENSE").read_text()
    assert "SmartBear" in folder.joinpath("NOTICE").read_text()


@pytest.mark.parametrize(("accepted", "packed"), [("gzip", True), ("identity", False)])
async def test_the_bundle_is_packed_and_kept(client: Client, accepted: str, packed: bool) -> None:
    """The largest file travels once, packed where the browser can unpack it."""
    path = f"/swagger/{VERSION}/swagger-ui-bundle.js"
    async with client.get(path, headers={"Accept-Encoding": accepted}) as response:
        body = await response.read()

    assert packed == ("Content-Encoding" in response.headers)
    assert packed == (int(response.headers["Content-Length"]) < 1_000_000)
    assert len(body) > 1_000_000
    assert "immutable" in response.headers["Cache-Control"]
    assert response.content_type == "text/javascript"
