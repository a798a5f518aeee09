"""What clients ask of a license. There is none to buy: whatever this server offers is switched on."""

from typing import Any

from palaver.gateway.call import Call

MODULES = ("custom-roles", "hide-watermark", "scalability", "unlimited-presence")
"""The modules of Rocket.Chat's licensing that exist here. A feature that comes to be adds its own."""


def license_info(call: Call) -> dict[str, Any]:
    """The facts in the form of `licenses.info`."""
    info: dict[str, Any] = {
        "activeModules": list(MODULES),
        "externalModules": [],
        "preventedActions": dict.fromkeys(
            ("activeUsers", "guestUsers", "roomsPerGuest", "privateApps", "marketplaceApps", "monthlyActiveContacts"),
            False,
        ),
        "tags": [],
        "trial": False,
    }
    if call.may("view-privileged-setting"):
        info["limits"] = {}
    return info
