"""GENERAL, the room that everybody is in from the beginning. Called by role.py as the service opens."""

import logging

from palaver.errors import LoginRequired, NotAllowed
from palaver.events import user_actor
from palaver.messaging.members import Members
from palaver.messaging.notices import ROCKET_CAT
from palaver.messaging.rooms import Rooms

logger = logging.getLogger(__name__)

# It is made with so many members in one event; the rest joins it one by one.
_FIRST_MEMBERS = 1000


class General:
    """Sees to it that GENERAL exists."""

    def __init__(self, rooms: Rooms, members: Members) -> None:
        self._rooms = rooms
        self._members = members

    async def create(self) -> None:
        """With everybody of this moment in it; nothing happens where there is, or was, one."""
        if await self._rooms.has_general():
            return
        try:
            users = await self._members.list_everybody(user_actor(ROCKET_CAT))
        except (NotAllowed, LoginRequired) as error:
            logger.warning("GENERAL begins without members: %s", error)
            users = []
        if await self._rooms.create_general(users[:_FIRST_MEMBERS]):
            await self._members.add_silently("GENERAL", users[_FIRST_MEMBERS:])
