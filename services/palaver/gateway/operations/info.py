"""What this server is. Shared by `rest/info.py` and `ddp/methods/settings.py`."""

import platform
import sys
from typing import Any

from palaver import __version__
from palaver.gateway.call import Call


def describe_server(call: Call) -> dict[str, Any]:
    """The version of the API: the whole of it for those who may know, else without the patch."""
    version = call.config.api_version
    if not call.may("view-statistics"):
        return {"version": ".".join(version.split(".")[:2])}
    return {"version": version, "info": _describe(version)}


def _describe(version: str) -> dict[str, Any]:
    """For administrators; `commit` and the marketplace are there because clients read them."""
    return {
        "version": version,
        "server": {"name": "Palaver", "version": __version__},
        "build": {"platform": sys.platform, "arch": platform.machine(), "osRelease": platform.release()},
        "commit": {},
        "marketplaceApiVersion": "",
    }
