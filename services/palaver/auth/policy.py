"""Use cases: permissions and settings. Defaults are data of this package; the database holds only what differs.

What a node decides by is its `Access`; this is where a change is checked, committed, and taken over at once by the
node that made it. Called by role.py.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import orjson

from palaver.access import User
from palaver.auth.defaults import Defaults, merged_permission, merged_role, merged_setting
from palaver.auth.second_factor import SecondFactor
from palaver.auth.store import Store
from palaver.auth.values import check_value
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.documents import find_asset_file
from palaver.errors import InvalidInput, NotAllowed
from palaver.events import SYSTEM, WORKSPACE, user_actor
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    DocumentsReply,
    Empty,
    GetPolicyReply,
    GetPolicyRequest,
    SetAssetRequest,
    UpdatePermissionsRequest,
    UpdateSettingRequest,
)
from palaver.v1.event_pb2 import Actor, Event, PermissionChanged, SettingChanged

_MAX_ROLES = 200


class Policies:
    """Reads and changes the workspace's policy."""

    def __init__(self, node: Node, store: Store, defaults: Defaults, second_factor: SecondFactor) -> None:
        self._node = node
        self._store = store
        self._defaults = defaults
        self._second_factor = second_factor

    async def get(self, request: GetPolicyRequest) -> GetPolicyReply:
        """All of it: the defaults, and what the database holds instead; or that the caller knows it."""
        seq = await self._node.commits.catch_up(WORKSPACE)
        if request.HasField("known_seq") and request.known_seq == seq:
            return GetPolicyReply(seq=seq)
        return GetPolicyReply(
            permissions=_encoded(await self.list_permissions()),
            roles=_encoded((await self.list_roles()).values()),
            settings=_encoded(await self.list_settings()),
            seq=seq,
        )

    async def list_permissions(self) -> list[Document]:
        stored = await self._store.list_stored("permissions")
        defaults = self._defaults.permissions
        return [merged_permission(defaults.get(id), stored.get(id)) for id in {**defaults, **stored}]

    async def list_roles(self) -> dict[str, Document]:
        """By id; deleted ones are left out."""
        stored = await self._store.list_stored("roles")
        found = {
            id: merged_role(self._defaults.roles.get(id), stored.get(id)) for id in {**self._defaults.roles, **stored}
        }
        return {id: role for id, role in found.items() if role is not None}

    async def list_settings(self) -> list[Document]:
        stored = await self._store.list_stored("settings")
        defaults = self._defaults.settings
        return [merged_setting(defaults.get(id), stored.get(id)) for id in {**defaults, **stored}]

    async def update_permissions(self, request: UpdatePermissionsRequest) -> DocumentsReply:
        """Says which roles have which permissions: all are checked before the first is changed."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if not access.may(actor, "access-permissions"):
            raise NotAllowed(code="unauthorized")
        if not request.permissions:
            raise InvalidInput("Invalid body params", code="error-invalid-params")
        policy = access.policy
        for wanted in request.permissions:
            if wanted.permission_id not in policy.permissions:
                raise InvalidInput("Invalid permission", code="error-invalid-permission")
            if len(wanted.roles) > _MAX_ROLES or not all(role in policy.roles for role in wanted.roles):
                raise InvalidInput("Invalid role", code="error-invalid-role")
        for wanted in request.permissions:
            await self._grant(wanted.permission_id, list(dict.fromkeys(wanted.roles)), user_actor(actor.id))
        documents = await self.list_permissions()
        return DocumentsReply(documents=_encoded(documents), total=len(documents))

    async def _grant(self, permission_id: str, roles: list[str], actor: Actor) -> None:
        async def decide(draft: Draft) -> None:
            stored = await draft.get("permissions", permission_id)
            permission = merged_permission(self._defaults.permissions.get(permission_id), stored)
            if permission["roles"] == roles:
                return
            at = now()
            changed = {**permission, "roles": roles, "_updatedAt": {"$date": at}}
            fact = PermissionChanged(permission_id=permission_id, permission=orjson.dumps(changed))
            draft.append(Event(permission_changed=fact), actor=actor, at=at)

        await self._execute(decide)

    async def update_setting(self, request: UpdateSettingRequest) -> Empty:
        """Changes one setting's value."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if not self._may_edit(actor, request.setting_id):
            raise NotAllowed("Editing settings is not allowed", code="unauthorized")
        await self._second_factor.check_shown(actor, request.hashed_token)
        setting = access.policy.settings.get(request.setting_id)
        if setting is None:
            raise InvalidInput(f"There is no setting {request.setting_id[:100]}", code="error-invalid-setting")
        _check_free(setting)
        try:
            given = msgspec.json.decode(request.value)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise InvalidInput("The value is no JSON", code="error-invalid-setting-value") from error
        value = check_value(setting, given)

        async def decide(draft: Draft) -> None:
            _check_free(self._merged(setting["_id"], await draft.get("settings", setting["_id"])))
            await self._change_setting(draft, setting["_id"], user_actor(actor.id), value=value)

        await self._execute(decide)
        return Empty()

    async def set_asset(self, request: SetAssetRequest) -> Empty:
        """Has an asset's setting name another file, or none. Raises NotAllowed, InvalidInput."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if not access.may(actor, "manage-assets"):
            raise NotAllowed("Managing assets not allowed", code="error-action-not-allowed")
        setting_id = f"Assets_{request.name}"
        default = self._defaults.settings.get(setting_id)
        if default is None or default["type"] != "asset":
            raise InvalidInput("Invalid asset", code="error-invalid-asset")
        value = {**default["packageValue"]}
        if request.file_id:
            value["url"] = f"assets/{request.name}.{request.extension}?{request.file_id}"
            if find_asset_file({"value": value}) is None:
                raise InvalidInput("Invalid asset", code="error-invalid-asset")

        async def decide(draft: Draft) -> None:
            _check_free(self._merged(setting_id, await draft.get("settings", setting_id)))
            await self._change_setting(draft, setting_id, user_actor(actor.id), value=value)

        await self._execute(decide)
        return Empty()

    def _may_edit(self, actor: User, setting_id: str) -> bool:
        access = self._node.access
        if access.may(actor, "edit-privileged-setting"):
            return True
        return access.may(actor, "manage-selected-settings") and access.may(actor, f"change-setting-{setting_id}")

    async def store_value(self, setting_id: str, value: Any, actor: Actor, *, only_if_absent: bool = False) -> None:
        """Commits a value that is right already; with `only_if_absent`, unless somebody has stored one."""

        async def decide(draft: Draft) -> None:
            if not only_if_absent or await draft.get("settings", setting_id) is None:
                await self._change_setting(draft, setting_id, actor, value=value)

        await self._execute(decide)

    async def decide_value(self, setting_id: str, value: Any) -> None:
        """Commits a value that is right already and that nobody may change through this service from now on."""
        await self._execute(lambda draft: self._change_setting(draft, setting_id, SYSTEM, value=value, blocked=True))

    async def release_value(self, setting_id: str) -> None:
        """Lets the setting be changed again."""
        await self._execute(lambda draft: self._change_setting(draft, setting_id, SYSTEM, blocked=False))

    async def _change_setting(self, draft: Draft, setting_id: str, actor: Actor, **fields: Any) -> None:
        stored = await draft.get("settings", setting_id)
        setting = self._merged(setting_id, stored)
        if stored is not None and all(setting[name] == value for name, value in fields.items()):
            return
        at = now()
        changed = {**setting, **fields, "_updatedAt": {"$date": at}}
        fact = SettingChanged(setting_id=setting_id, setting=orjson.dumps(changed))
        draft.append(Event(setting_changed=fact), actor=actor, at=at)

    def _merged(self, setting_id: str, stored: Document | None) -> Document:
        return merged_setting(self._defaults.settings.get(setting_id), stored)

    async def _execute(self, decide: Callable[[Draft], Awaitable[None]]) -> None:
        """Commits to the workspace's stream. Who asked for it obeys before they are answered, also where it was so."""

        async def decide_and_say(draft: Draft) -> tuple[Event | None, int]:
            await decide(draft)
            return draft.appended, draft.head

        event, head = await self._node.commits.execute(WORKSPACE, decide_and_say)
        if event is None:
            self._node.causality.note_policy(head)
        else:
            self.take(event)

    def take(self, event: Event) -> None:
        """Lets this node's own view follow at once, and who asked for it; the log brings the event to all others."""
        self._node.causality.note_policy(event.seq)
        access = self._node.access
        if event.seq == access.policy.seq + 1:
            access.take(event)


def _check_free(setting: Document) -> None:
    """Raises InvalidInput for a setting that is nobody's to change."""
    if setting.get("readonly"):
        raise InvalidInput(f"The setting {setting['_id']} can't be changed", code="error-setting-readonly")
    if setting.get("blocked"):
        raise InvalidInput(
            f"The setting {setting['_id']} is decided by the server's configuration and can only be changed there",
            code="error-setting-readonly",
        )


def _encoded(documents: Iterable[Document]) -> list[bytes]:
    return [orjson.dumps(document) for document in documents]
