"""Logo, icons and background of pages: their defaults, and what an administrator sets."""

import io
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.gateway.rest import Client, read
from tests.gateway.test_thumbnails import NO_PICTURES, picture
from tests.gateway.test_uploads import fetch

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


async def set_asset(client: Client, name: str, data: bytes, status: int = 200) -> dict[str, Any]:
    files = {"asset": ("x.png", data, "image/png")}
    form = {"assetName": name, "refreshAllClients": "true"}
    return read(await client.request("POST", "assets.setAsset", files=files, data=form), status)


async def get(client: Client, path: str, **headers: str) -> httpx.Response:
    return await fetch(Client(client.http, client.node), f"/{path}", **headers)


async def value(client: Client, name: str) -> dict[str, str]:
    answer = await client.get("settings.public", _id=f"Assets_{name}")
    found: dict[str, str] = answer["settings"][0]["value"]
    return found


async def test_every_default_is_there(admin: Client) -> None:
    settings = admin.node.access.policy.settings.values()
    assets = [setting for setting in settings if setting["type"] == "asset"]
    assert len(assets) == 18
    for setting in assets:
        served = await get(admin, setting["value"]["defaultUrl"])
        assert served.status_code == 200, setting["_id"]
        if served.headers["content-type"] == "image/svg+xml":
            assert served.text.startswith("<svg ")
        else:
            with Image.open(io.BytesIO(served.content)) as opened:
                size = setting["_id"].rpartition("_")[2]
                assert not size.isdecimal() or opened.size == (int(size), int(size))
    tag = (await get(admin, "assets/logo.svg")).headers["etag"]
    assert (await get(admin, "assets/logo.svg", **{"If-None-Match": tag})).status_code == 304
    for path in ("assets/none.png", "assets/SvgFavicon_Enable.png", "assets/..%2fsecret"):
        assert (await get(admin, path)).status_code == 404


async def test_an_asset_is_set_and_unset(admin: Client) -> None:
    default = (await get(admin, "assets/favicon_512.png")).content
    data = picture("JPEG", (512, 512))
    await set_asset(admin, "favicon_512", data)
    chosen = await value(admin, "favicon_512")
    assert chosen["url"].startswith("assets/favicon_512.jpg?")
    assert chosen["defaultUrl"] == "assets/favicon_512.png"
    for path in (chosen["url"], chosen["defaultUrl"]):
        served = await get(admin, path)
        assert (served.headers["content-type"], served.content) == ("image/jpeg", data)
    await admin.post("assets.unsetAsset", assetName="favicon_512")
    assert await value(admin, "favicon_512") == {"defaultUrl": "assets/favicon_512.png"}
    assert (await get(admin, "assets/favicon_512.png")).content == default
    await admin.call("setAsset", SVG.decode(), "image/svg+xml", "logo")
    served = await get(admin, "assets/logo.svg")
    assert (served.headers["content-type"], served.content) == ("image/svg+xml", SVG)
    assert "sandbox" in served.headers["content-security-policy"]
    assert served.headers["x-content-type-options"] == "nosniff"
    await admin.call("unsetAsset", "logo")
    assert (await get(admin, "assets/logo.svg")).content != SVG


@pytest.mark.parametrize("data", [data for name, data in NO_PICTURES.items() if name not in ("zip bomb", "nothing")])
async def test_what_is_no_picture_is_no_asset(admin: Client, data: bytes) -> None:
    answer = await set_asset(admin, "logo", data, 400)
    assert answer["errorType"] == "error-invalid-file-type"
    assert [blob async for blob in admin.node.blobs.list("media")] == []


async def test_who_may_and_which(admin: Client, alice: Client) -> None:
    assert (await set_asset(admin, "none", SVG, 400))["errorType"] == "error-invalid-asset"
    assert (await admin.post("assets.unsetAsset", 400, assetName="none"))["errorType"] == "error-invalid-asset"
    await admin.post("assets.unsetAsset", 400)
    await set_asset(admin, "logo", SVG + bytes(5 * 1024 * 1024), 400)
    for answer in (
        await set_asset(alice, "logo", SVG, 400),
        await alice.post("assets.unsetAsset", 400, assetName="logo"),
    ):
        assert answer["errorType"] == "error-action-not-allowed"
    for method, *arguments in (("setAsset", "<svg/>", "image/svg+xml", "logo"), ("unsetAsset", "logo")):
        assert (await alice.call(method, *arguments))["error"]["error"] == "error-action-not-allowed"
    assert [blob async for blob in admin.node.blobs.list("media")] == []
