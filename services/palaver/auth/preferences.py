"""Pure rules of a user's own preferences: each has the type of the setting that holds its default."""

from collections.abc import Mapping
from typing import Any

import orjson

from palaver.auth.values import check_value
from palaver.database import Document
from palaver.errors import InvalidInput

_DEFAULT = "Accounts_Default_User_Preferences_"
# Preferences without a default in the settings, with the types that they may have.
_OTHERS: dict[str, type | tuple[type, ...]] = {
    "language": str,
    "highlights": list,
    "dontAskAgainList": list,
    "clockMode": int,
    "fontSize": str,
    "messageViewMode": int,
    "mentionsWithSymbol": bool,
    "desktopNotificationDuration": int,
    "mobileNotifications": str,
    "receiveLoginDetectionEmail": bool,
    "enableMessageParserEarlyAdoption": bool,
    "alsoSendThreadToChannel": str,
    "unreadRoomsMode": bool,
    "newRoomNotification": str,
    "newMessageNotification": str,
    "omnichannelTranscriptPDF": bool,
}
# These may also be "default", as clients say it: whatever the setting is.
_FOLLOWING = ("desktopNotifications", "pushNotifications", "emailNotificationMode")
_MAX_BYTES = 32 * 1024


def check_preferences(preferences: Mapping[str, Any], settings: Mapping[str, Document]) -> dict[str, Any]:
    """The preferences as they are stored. Raises InvalidInput for an unknown one or a value of the wrong type."""
    found: dict[str, Any] = {}
    for name, value in preferences.items():
        kinds = _OTHERS.get(name)
        if kinds is not None:
            if not isinstance(value, kinds) or (kinds is int and isinstance(value, bool)):
                raise _invalid(name)
            if isinstance(value, list) and not all(_is_plain(item) for item in value):
                raise _invalid(name)
            if isinstance(value, int) and abs(value) > 2**31:
                raise _invalid(name)
            found[name] = value
        elif name in _FOLLOWING and value == "default":
            found[name] = value
        elif name == "featuresPreview" and isinstance(value, list):  # the setting has the same as a text
            found[name] = [_feature(feature) for feature in value]
        elif (setting := settings.get(_DEFAULT + name)) is not None:
            try:
                found[name] = check_value(setting, value)
            except InvalidInput as error:
                raise _invalid(name) from error
        else:
            raise InvalidInput("must NOT have additional properties", details={"preference": name[:100]})
    if len(orjson.dumps(found)) > _MAX_BYTES:
        raise InvalidInput("The preferences are too large")
    return found


def _feature(feature: Any) -> dict[str, Any]:
    """Which feature, and whether it is on. Clients also send what they show of it."""
    match feature:
        case {"name": str(name), "value": bool(value)}:
            return {"name": name, "value": value}
    raise _invalid("featuresPreview")


def _is_plain(item: Any) -> bool:
    """A text, or an object of texts: {action, label} of dontAskAgainList."""
    return isinstance(item, str) or (isinstance(item, dict) and all(isinstance(part, str) for part in item.values()))


def _invalid(name: str) -> InvalidInput:
    return InvalidInput(f"Invalid value for preference {name}", details={"preference": name})
