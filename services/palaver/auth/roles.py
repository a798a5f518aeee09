"""Use cases: roles, and who has them. Called by role.py."""

import asyncio

import orjson

from palaver.auth.accounts import Accounts, Change
from palaver.auth.policy import Policies
from palaver.auth.store import Store
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import Conflict, InvalidInput, NotAllowed
from palaver.events import WORKSPACE, user_actor
from palaver.ids import new_id
from palaver.node import Node
from palaver.v1.auth_pb2 import DeleteRoleRequest, Empty, RoleReply, SaveRoleRequest, UserRoleRequest
from palaver.v1.event_pb2 import Actor, Event, RoleDeleted, RoleSaved

_SCOPES = ("Users", "Subscriptions")
_MAX_NAME = 100
_MAX_DESCRIPTION = 500


class Roles:
    """Saves and deletes roles, gives and takes them."""

    def __init__(self, node: Node, store: Store, accounts: Accounts, policies: Policies) -> None:
        self._node = node
        self._store = store
        self._accounts = accounts
        self._policies = policies
        self._one_at_a_time = asyncio.Lock()

    async def save(self, request: SaveRoleRequest) -> RoleReply:
        """Creates a role, or changes one."""
        actor = await self._checked_actor(request.actor)
        name = request.name.strip()
        if len(name) > _MAX_NAME or len(request.description) > _MAX_DESCRIPTION or (not name and not request.role_id):
            raise InvalidInput("The role properties are invalid", code="error-invalid-role-properties")
        if request.scope and request.scope not in _SCOPES:
            raise InvalidInput("Invalid scope", code="error-invalid-scope")
        new_role_id = new_id()

        async def decide(draft: Draft) -> tuple[Document, Event]:
            roles = await self._policies.list_roles()
            at = now()
            role = self._saved(request, name, roles, new_role_id) | {"_updatedAt": {"$date": at}}
            fact = RoleSaved(role_id=role["_id"], role=orjson.dumps(role))
            return role, draft.append(Event(role_saved=fact), actor=actor, at=at)

        # Two commands of this process would be decided on the same roles; of two processes, one decides again.
        async with self._one_at_a_time:
            role, event = await self._node.commits.execute(WORKSPACE, decide)
        self._policies.take(event)
        return RoleReply(role=orjson.dumps(role))

    def _saved(self, request: SaveRoleRequest, name: str, roles: dict[str, Document], new_role_id: str) -> Document:
        """The role as it will be. Raises InvalidInput or Conflict."""
        if not request.role_id:
            before: Document = {"_id": new_role_id, "scope": "Users", "description": "", "protected": False}
        elif request.role_id in roles:
            before = roles[request.role_id]
        else:
            raise InvalidInput("This role does not exist", code="error-invalid-roleId")
        name = name or before["name"]
        scope = request.scope or before["scope"]
        if before.get("protected") and (name != before["name"] or scope != before["scope"]):
            raise InvalidInput("Role is protected", code="error-role-protected")
        taken = {other["name"] for other in roles.values()} | roles.keys()
        if name != before.get("name") and name in taken - {before["_id"]}:
            raise Conflict("Role name already exists", code="error-duplicate-role-names-not-allowed")
        return {
            **before,
            "name": name,
            "scope": scope,
            "description": request.description,
            "mandatory2fa": request.mandatory_second_factor,
        }

    async def delete(self, request: DeleteRoleRequest) -> Empty:
        """Deletes a role that nobody has."""
        actor = await self._checked_actor(request.actor)

        async def decide(draft: Draft) -> Event:
            role = (await self._policies.list_roles()).get(request.role_id)
            if role is None:
                raise InvalidInput("This role does not exist", code="error-invalid-roleId")
            if role.get("protected"):
                raise InvalidInput("Cannot delete a protected role", code="error-delete-protected-role")
            if await self._store.is_role_in_use(role["_id"]):
                raise InvalidInput("Cannot delete role because it's in use", code="error-role-in-use")
            return draft.append(Event(role_deleted=RoleDeleted(role_id=role["_id"])), actor=actor)

        async with self._one_at_a_time:
            event = await self._node.commits.execute(WORKSPACE, decide)
        self._policies.take(event)
        return Empty()

    async def add_user(self, request: UserRoleRequest) -> RoleReply:
        """Gives somebody a role of the workspace."""
        actor = await self._checked_actor(request.actor)
        role = self._workspace_role(request)
        user = await self._find_user(request)
        await self._check_may_assign(request, role)

        has_it_already = False

        async def decide(current: Document) -> Change:
            nonlocal has_it_already
            has_it_already = role["_id"] in current["roles"]
            return Change() if has_it_already else Change({"roles": [*current["roles"], role["_id"]]})

        # A refusal tells, too: whoever asks again may do so because telling failed.
        await self._accounts.change(user["_id"], actor, decide)
        if has_it_already:
            raise InvalidInput("User already in role", code="error-user-already-in-role")
        return RoleReply(role=orjson.dumps(role))

    async def remove_user(self, request: UserRoleRequest) -> RoleReply:
        """Takes a role of the workspace from somebody; never from the last administrator."""
        actor = await self._checked_actor(request.actor)
        role = self._workspace_role(request)
        user = await self._find_user(request)
        await self._check_may_assign(request, role)

        has_it = True

        async def decide(current: Document) -> Change:
            nonlocal has_it
            has_it = role["_id"] in current["roles"]
            return Change({"roles": [name for name in current["roles"] if name != role["_id"]]})

        if role["_id"] == "admin":
            refusal = InvalidInput("You need to have at least one admin", code="error-admin-required")
            async with self._accounts.keeping_an_admin(user["_id"], refusal):
                await self._accounts.change(user["_id"], actor, decide)
        else:
            await self._accounts.change(user["_id"], actor, decide)
        if not has_it:
            raise InvalidInput("User is not in this role", code="error-user-not-in-role")
        return RoleReply(role=orjson.dumps(role))

    async def _checked_actor(self, actor: Actor) -> Actor:
        access = self._node.access
        user = await access.get_actor(actor)
        if not access.may(user, "access-permissions"):
            raise NotAllowed(code="unauthorized")
        return user_actor(user.id)

    async def _check_may_assign(self, request: UserRoleRequest, role: Document) -> None:
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if role["_id"] == "admin" and not access.may(actor, "assign-admin-role"):
            raise NotAllowed(
                "Assigning admin is not allowed", code="error-action-not-allowed", details={"action": "Assign_admin"}
            )

    def _workspace_role(self, request: UserRoleRequest) -> Document:
        role = self._node.access.policy.roles.get(request.role_id)
        if role is None:
            raise InvalidInput("This role does not exist", code="error-invalid-roleId")
        if role["scope"] == "Subscriptions" or request.room_id:
            raise InvalidInput("A role of rooms is given in a room", code="error-invalid-scope")
        return role

    async def _find_user(self, request: UserRoleRequest) -> Document:
        if request.user_id:
            user = await self._store.find_user(request.user_id)
        else:
            user = await self._store.find_user_by_name(request.username)
        if user is None:
            raise InvalidInput("There is no user with this username", code="error-invalid-user")
        return user
