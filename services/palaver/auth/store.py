"""What the auth service reads: users, tokens, and what is stored of the policy. Called by its use cases only."""

from collections.abc import Sequence

from palaver.account_names import fold
from palaver.database import Database, Document, Filter, Sort

_THERE: Filter = {"deleted_at": None}


class Store:
    """Reads of the database, in the words of this service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_user(self, user_id: str) -> Document | None:
        """The stored user, or None for an unknown or deleted one."""
        user = await self._database.get("users", user_id) if user_id else None
        return None if user is None or "deleted_at" in user else user

    async def find_user_by_name(self, username: str) -> Document | None:
        """The same by username, in either case."""
        if not username:
            return None
        return await self._database.find_one("users", {"username_lower": fold(username), **_THERE})

    async def find_user_by_email(self, email: str) -> Document | None:
        """The same by one of the e-mail addresses, in either case."""
        if not email:
            return None
        return await self._database.find_one("users", {"emails_lower": fold(email), **_THERE})

    async def list_users(self, user_ids: Sequence[str], usernames: Sequence[str]) -> list[Document]:
        """Users by id and by name; unknown and deleted ones are left out."""
        found = await self._database.get_many("users", list(dict.fromkeys(user_ids))) if user_ids else {}
        if usernames:
            folded = list(dict.fromkeys(fold(username) for username in usernames))
            for user in await self._database.find("users", {"username_lower": {"$in": folded}, **_THERE}):
                found.setdefault(user["_id"], user)
        return [user for user in found.values() if "deleted_at" not in user]

    async def find_users(self, where: Filter, sort: Sort, skip: int, limit: int) -> tuple[list[Document], int]:
        """One page of the users that match, and how many match."""
        return await self._find_page("users", where, sort, skip, limit)

    async def list_matching_users(self, where: Filter, sort: Sort, skip: int, limit: int) -> list[Document]:
        """One page of the users that match, without how many do."""
        return await self._database.find("users", where, sort=sort, skip=skip, limit=limit)

    async def list_pictures(self, picture_ids: Sequence[str]) -> list[str]:
        """Those of these that some user has as their picture, or that an emoji or a sound is made of."""
        if not picture_ids:
            return []
        found: list[str] = []
        for collection, field in (("users", "avatarETag"), ("emoji", "file_id"), ("sounds", "file_id")):
            where: Filter = {field: {"$in": list(picture_ids)}, **_THERE}
            found += [document[field] for document in await self._database.find(collection, where)]
        return found

    async def find_statuses(self, where: Filter, sort: Sort, skip: int, limit: int) -> tuple[list[Document], int]:
        """One page of the workspace's own kinds of status that match, and how many match."""
        there: Filter = {"$and": [_THERE, where]} if where else _THERE
        return await self._find_page("custom_statuses", there, sort, skip, limit)

    async def list_idle(self, role: str, before: int, limit: int) -> list[Document]:
        """Active users with this role whose last login was before then (epoch milliseconds), longest ago first."""
        where: Filter = {"lastLogin": {"$lt": {"$date": before}}, "roles": role, "active": True, **_THERE}
        return await self._database.find("users", where, sort=[("lastLogin", 1)], limit=limit)

    async def count_users(self) -> tuple[int, int, int]:
        """All users; the active ones besides apps; apps."""
        apps: Filter = {"type": "app", **_THERE}
        active: Filter = {"active": True, **_THERE}
        return (
            await self._database.count("users", _THERE),
            await self._database.count("users", active) - await self._database.count("users", {**apps, "active": True}),
            await self._database.count("users", apps),
        )

    async def count_admins(self) -> int:
        """Administrators who can log in."""
        return await self._database.count("users", {"roles": "admin", "active": True, **_THERE})

    async def list_admins(self) -> list[str]:
        """Ids of administrators who can log in."""
        found = await self._database.find("users", {"roles": "admin", "active": True, **_THERE}, sort=[("_id", 1)])
        return [user["_id"] for user in found]

    async def is_role_in_use(self, role_id: str) -> bool:
        return await self._database.find_one("users", {"roles": role_id, **_THERE}) is not None

    async def find_token(self, hashed_token: str) -> Document | None:
        """The token as stored, revoked or expired ones too."""
        return await self._database.get("tokens", hashed_token)

    async def list_tokens(self, user_id: str) -> list[Document]:
        """The user's tokens that are not revoked."""
        return await self._database.find("tokens", {"user_id": user_id, "revoked_at": None})

    async def find_session(self, session_id: str) -> Document | None:
        """The token of a login by the id that others may know, ended ones too."""
        return await self._database.find_one("tokens", {"session_id": session_id})

    async def find_tokens(self, where: Filter, sort: Sort, skip: int, limit: int) -> tuple[list[Document], int]:
        """One page of the tokens that match, and how many match."""
        return await self._find_page("tokens", where, sort, skip, limit)

    async def list_stored(self, collection: str) -> dict[str, Document]:
        """What is stored of the permissions, roles or settings: only what differs from the defaults."""
        return {document["_id"]: document for document in await self._database.find(collection, {})}

    async def _find_page(
        self, collection: str, where: Filter, sort: Sort, skip: int, limit: int
    ) -> tuple[list[Document], int]:
        found = await self._database.find(collection, where, sort=sort, skip=skip, limit=limit)
        if (found or not skip) and (not limit or len(found) < limit):
            return found, skip + len(found)  # the last page says itself how many there are
        return found, await self._database.count(collection, where)
