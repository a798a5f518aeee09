"""What a member has chosen of one room: whether, and of what, they are told by notifications.

Kept by `fanout.Room` for the sessions here that have chosen anything; learned whenever a subscription is read for them
(`people.py`, `state.py`), used by `notifications.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Choice:
    """`desktop` is all, mentions or nothing; "" is as in the user's other rooms."""

    desktop: str = ""
    is_silent: bool = False
    mutes_groups: bool = False
    ignored: frozenset[str] = frozenset()


NO_CHOICE = Choice()


def choice_of(subscription: Mapping[str, Any]) -> Choice:
    """From the fields of a subscription; NO_CHOICE for nearly every one."""
    return Choice(
        desktop=str(subscription.get("desktopNotifications") or ""),
        is_silent=bool(subscription.get("disableNotifications")),
        mutes_groups=bool(subscription.get("muteGroupMentions")),
        ignored=frozenset(id for id in subscription.get("ignored") or () if isinstance(id, str)),
    )
