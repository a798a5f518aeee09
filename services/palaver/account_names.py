"""How usernames and e-mail addresses are compared, and which usernames nobody may choose.

auth decides by it; the gateway says beforehand what auth would refuse (`gateway/operations/usernames.py`).
"""

import unicodedata
from collections.abc import Callable
from typing import Any

_RESERVED = ("all", "here")
_BLOCKED = ("Accounts_BlockedUsernameList", "Accounts_SystemBlockedUsernameList")


def fold(text: str) -> str:
    """The form in which usernames and e-mail addresses are compared: what looks the same but for case is the same."""
    return unicodedata.normalize("NFKC", text).casefold()


def is_reserved(username: str) -> bool:
    """Whether no user can have it, as a mention of it means others."""
    return fold(username) in _RESERVED


def is_blocked(username: str, setting: Callable[[str], Any]) -> bool:
    """Whether nobody may choose it for themself. The settings hold lists of names parted by commas."""
    lists = (str(setting(setting_id) or "") for setting_id in _BLOCKED)
    blocked = {fold(name.strip()) for names in lists for name in names.split(",") if name.strip()}
    return fold(username) in blocked or is_reserved(username)
