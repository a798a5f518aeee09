"""What a User-Agent says of a device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.auth.devices import describe_device

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/141.0.7390.37 Safari/537.36"
EDGE = f"{CHROME} Edg/141.0.3537.71"
SAFARI = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/18.5 Safari/605.1.15"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) {WEBKIT} Version/18.6 Mobile/15E148 Safari/604.1"
ANDROID = f"Mozilla/5.0 (Linux; Android 15; Pixel 9) {WEBKIT} Chrome/141.0.0.0 Mobile Safari/537.36"
MOBILE = "RC Mobile; android 14; v4.72.0 (71234)"


@pytest.mark.parametrize(
    ("user_agent", "type", "name", "version", "system"),
    [
        (FIREFOX, "browser", "Firefox", "144.0", {"name": "Linux", "version": ""}),
        (CHROME, "browser", "Chrome", "141.0", {"name": "Windows", "version": "10.0"}),
        (EDGE, "browser", "Edge", "141.0", {"name": "Windows", "version": "10.0"}),
        (SAFARI, "browser", "Safari", "18.5", {"name": "macOS", "version": "10.15.7"}),
        (IPHONE, "browser", "Safari", "18.6", {"name": "iOS", "version": "18.6"}),
        (ANDROID, "browser", "Chrome", "141.0", {"name": "Android", "version": "15"}),
        (MOBILE, "mobile-app", "Rocket.Chat Mobile", "4.72", None),
        ("python-requests/2.34.2", "unknown", "python-requests", "2.34", {"name": "", "version": ""}),
        ("", "unknown", "", "", {"name": "", "version": ""}),
    ],
)
def test_known_ones(user_agent: str, type: str, name: str, version: str, system: dict[str, str] | None) -> None:
    device = describe_device(user_agent)
    assert (device["type"], device["name"], device["version"]) == (type, name, version)
    assert device["longVersion"].startswith(version)
    assert system is None or device["os"] == system


@given(st.text() | st.from_regex(r"(RC Mobile;|iPhone|Version/|Electron|Rocket\.Chat/|1|;|v){0,60}"))
def test_whatever_it_says(user_agent: str) -> None:
    assert describe_device(user_agent * 20)["type"]
