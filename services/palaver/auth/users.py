"""Use cases: creating users, registering oneself, and looking users up. Called by role.py."""

from typing import Any

import msgspec
import orjson

from palaver.access import User
from palaver.account_names import fold, is_blocked, is_reserved
from palaver.auth import rules
from palaver.auth.accounts import Accounts, AdminExists, check_known_roles, email_fields, name_taken, new_user
from palaver.auth.bootstrap import Bootstrap
from palaver.auth.links import Links
from palaver.auth.passwords import Passwords, check_password
from palaver.auth.store import Store
from palaver.database import Document, Filter
from palaver.database.schema import SEARCHED_OF_USERS, FieldType
from palaver.documents import find_asset_file, own_user, public_user
from palaver.errors import InvalidInput, NotAllowed, UserNotFound
from palaver.events import user_actor
from palaver.filters import Translate, check_text, read_filter, read_sort, with_id
from palaver.ids import new_id
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    CreateUserRequest,
    DocumentsReply,
    GetUserRequest,
    GetUsersRequest,
    ListUsersRequest,
    PicturesReply,
    PicturesRequest,
    RegisterUserRequest,
    UserCounts,
    UserReply,
)

# What anybody may see of anybody; everything else needs view-full-other-user-info.
_SMALL = frozenset(
    {
        "_id",
        "_updatedAt",
        "active",
        "avatarETag",
        "avatarOrigin",
        "bio",
        "customFields",
        "federated",
        "name",
        "nickname",
        "status",
        "statusConnection",
        "statusDefault",
        "statusText",
        "type",
        "username",
        "utcOffset",
    }
)
# What lists of users can be filtered and sorted by.
_FILTERED: dict[str, FieldType] = {
    "_id": "text",
    "username": "text",
    "name": "text",
    "type": "text",
    "roles": "list",
    "active": "boolean",
    "createdAt": "date",
    "lastLogin": "date",
}
_BY_EMAIL: dict[str, Translate] = {
    "emails.address": lambda addresses: {"emails_lower": {"$in": list(map(fold, addresses))}}
}
_TYPES = ("user", "bot", "app")


class Users:
    """Creates users and finds them."""

    def __init__(
        self,
        node: Node,
        store: Store,
        accounts: Accounts,
        passwords: Passwords,
        bootstrap: Bootstrap,
        links: Links,
    ) -> None:
        self._node = node
        self._store = store
        self._accounts = accounts
        self._passwords = passwords
        self._bootstrap = bootstrap
        self._links = links

    # -- creating ----------------------------------------------------------------------------------------------------

    async def create(self, request: CreateUserRequest) -> UserReply:
        """An administrator creates a user."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if not access.may(actor, "create-user"):
            raise NotAllowed(
                "Adding user is not allowed", code="error-action-not-allowed", details={"action": "Adding_user"}
            )
        roles = list(dict.fromkeys(request.roles)) or self._default_roles()
        if request.roles:
            self._check_may_assign(actor, roles)
        if request.user_id:
            rules.check_user_id(request.user_id)
        type = request.type or "user"
        if type not in _TYPES:
            raise InvalidInput("Invalid user type", code="error-invalid-user-type")
        if not request.password and type == "user":
            raise _missing("Password")
        user = await self._checked_user(
            request.user_id or new_id(),
            username=request.username,
            email=request.email,
            name=request.name,
            password=request.password,
            verified=request.verified,
            custom_fields=request.custom_fields,
        )
        rules.check_length("Bio", request.bio, rules.MAX_BIO, "error-bio-size-exceeded")
        rules.check_length("Nickname", request.nickname, rules.MAX_NICKNAME, "error-nickname-size-exceeded")
        rules.check_length("Status text", request.status_text, rules.MAX_STATUS_TEXT, "error-status-text-size-exceeded")
        user.update({"roles": roles, "type": type, "active": not request.inactive})
        optional = {"bio": request.bio, "nickname": request.nickname, "statusText": request.status_text}
        user.update({name: value for name, value in optional.items() if value})
        if request.require_password_change:
            user["requirePasswordChange"] = True
        created = await self._accounts.create(user, user_actor(actor.id))
        return UserReply(user=orjson.dumps(public_user(created)))

    async def register(self, request: RegisterUserRequest) -> UserReply:
        """Somebody registers themself. The first one of a workspace without administrator becomes it."""
        setting = self._node.access.setting
        is_first = not await self._accounts.has_admin()
        form = setting("Accounts_RegistrationForm")
        if not is_first and form == "Disabled":
            raise InvalidInput("User registration is disabled", code="error-user-registration-disabled")
        secret = setting("Accounts_RegistrationForm_SecretURL")
        is_known = request.invited or (secret and request.secret == secret)
        if not is_first and form == "Secret URL" and not is_known:
            raise InvalidInput(
                "User registration is only allowed via Secret URL", code="error-user-registration-secret"
            )
        if not request.password:
            raise _missing("Password")
        if not request.email:
            raise _missing("Email")
        if setting("Accounts_RequireNameForSignUp") and not request.name.strip():
            raise _missing("Name")
        if not is_first:
            self.check_not_blocked(request.username)
        user = await self._checked_user(
            new_id(),
            username=request.username,
            email=request.email,
            name=request.name,
            password=request.password,
            verified=False,
            custom_fields=request.custom_fields,
        )
        user["roles"] = self._default_roles()
        if is_first:
            try:
                reply = await self._register({**user, "roles": ["user", "admin"]}, first_admin=True)
            except AdminExists:
                pass  # somebody else was faster
            else:
                await self._bootstrap.complete_setup()
                return reply
        if setting("Accounts_ManuallyApproveNewUsers"):
            user["active"] = False
            if request.reason:
                user["reason"] = request.reason[:1000]
        return await self._register(user, first_admin=False)

    async def _register(self, user: Document, *, first_admin: bool) -> UserReply:
        created = await self._accounts.create(user, user_actor(user["_id"]), first_admin=first_admin)
        await self._links.confirm_new(created)
        return UserReply(user=orjson.dumps(public_user(created)))

    async def _checked_user(
        self,
        user_id: str,
        *,
        username: str,
        email: str,
        name: str,
        password: str,
        verified: bool,
        custom_fields: bytes,
    ) -> Document:
        """The document of a new user from what somebody typed. Raises InvalidInput or Conflict."""
        setting = self._node.access.setting
        if not username:
            raise _missing("Username")
        rules.check_username(username, setting("UTF8_User_Names_Validation"))
        rules.check_length("Name", name, rules.MAX_NAME, "error-name-size-exceeded")
        user = new_user(user_id, username, name=name.strip())
        if email:
            self.check_email(email)
            user.update(email_fields(email, verified))
        fields = rules.check_custom_fields(
            decoded_object(custom_fields), rules.declared_custom_fields(setting("Accounts_CustomFields"))
        )
        if fields:
            user["customFields"] = fields
        # The quick look saves a hash; the claim decides.
        if is_reserved(username) or await self._store.find_user_by_name(username) is not None:
            raise name_taken(username)
        if password:
            check_password(self._node.access, password)
            user["services"] = {"password": await self._passwords.make(rules.digest_of(password))}
        if email and setting("Accounts_TwoFactorAuthentication_By_Email_Auto_Opt_In"):
            user["services"] = {**user.get("services", {}), "email2fa": {"enabled": True}}
        return user

    def check_not_blocked(self, username: str) -> None:
        """Raises Conflict for a username that nobody may choose for themself."""
        if is_blocked(username, self._node.access.setting):
            raise name_taken(username)

    def check_email(self, email: str) -> None:
        """Raises InvalidInput unless the settings let this address in."""
        setting = self._node.access.setting
        rules.check_email(
            email,
            allowed_domains=setting("Accounts_AllowedDomainsList"),
            blocked_domains=setting("Accounts_BlockedDomainsList"),
        )

    def _default_roles(self) -> list[str]:
        access = self._node.access
        roles = [id for id, role in access.policy.roles.items() if role.get("scope") != "Subscriptions"]
        return rules.default_roles(access.setting("Accounts_Registration_Users_Default_Roles"), roles)

    def _check_may_assign(self, actor: User, roles: list[str]) -> None:
        access = self._node.access
        if roles != self._default_roles() and not access.may(actor, "assign-roles"):
            raise NotAllowed(
                "Assign roles is not allowed", code="error-action-not-allowed", details={"action": "Assign_role"}
            )
        check_known_roles(roles, access.policy.roles)
        if "admin" in roles and not access.may(actor, "assign-admin-role"):
            raise NotAllowed(
                "Assigning admin is not allowed", code="error-action-not-allowed", details={"action": "Assign_admin"}
            )

    # -- looking up --------------------------------------------------------------------------------------------------

    async def get(self, request: GetUserRequest) -> UserReply:
        """One user: everything for themself and for those who may see it, the small public set for others."""
        which = request.WhichOneof("which")
        user = None
        if which == "user_id":
            user = await self._store.find_user(request.user_id)
        elif which == "username":
            user = await self._store.find_user_by_name(request.username)
        elif which is None:
            raise InvalidInput(
                'The required "userId" or "username" param was not provided', code="error-user-param-not-provided"
            )
        actor = await self._node.access.get_actor(request.actor)
        if user is None:
            raise UserNotFound()
        return UserReply(user=orjson.dumps(self._visible(own_user(user), actor)))

    async def get_many(self, request: GetUsersRequest) -> DocumentsReply:
        """For another service: users by id and by name; unknown ones are left out."""
        users = await self._store.list_users(request.user_ids, request.usernames)
        return DocumentsReply(documents=[orjson.dumps(public_user(user)) for user in users], total=len(users))

    async def count(self) -> UserCounts:
        """For another service: how many there are."""
        total, active, apps = await self._store.count_users()
        return UserCounts(total=total, active=active, apps=apps)

    async def list_pictures_in_use(self, request: PicturesRequest) -> PicturesReply:
        """For another service: those of these pictures that somebody or something has."""
        found = await self._store.list_pictures(request.picture_ids)
        files = filter(None, map(find_asset_file, self._node.access.policy.settings.values()))
        return PicturesReply(picture_ids=[*found, *(id for id, _ in files if id in request.picture_ids)])

    async def list_some(self, request: ListUsersRequest) -> DocumentsReply:
        """A page of the users that match, each as far as the actor may see them."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        outside = access.setting("API_Apply_permission_view-outside-room_on_users-list")
        if not access.may(actor, "view-d-room") or (outside and not access.may(actor, "view-outside-room")):
            raise NotAllowed(code="unauthorized")
        if request.offset < 0 or request.count < 0:
            raise InvalidInput("offset and count can't be negative")
        if request.role:
            access.check(actor, "access-permissions")
        full = access.may(actor, "view-full-other-user-info")
        conditions: list[Filter] = [{"deleted_at": None}]
        if request.filter:
            conditions.append(read_filter(request.filter, _FILTERED, _BY_EMAIL if full else None))
        if request.term:
            wanted = {name.strip() for name in access.setting("Accounts_SearchFields").split(",")}
            names = [name for name in SEARCHED_OF_USERS if name in wanted] or ["username"]
            matching: list[Filter] = [{name: {"$contains": check_text(request.term)}} for name in names]
            if full and "@" in request.term and (holder := await self._store.find_user_by_email(request.term.strip())):
                matching.append({"_id": holder["_id"]})  # addresses are looked up whole, by their index
            conditions.append({"$or": matching})
        if request.exceptions:
            conditions.append({"username_lower": {"$nin": [fold(name) for name in request.exceptions]}})
        if request.role:
            conditions.append({"roles": request.role})
        where: Filter = {"$and": conditions}
        order = read_sort(request.sort, _FILTERED) or [("username", 1)]
        if [name for name, _ in order] == ["lastLogin"]:
            order.append(("username", order[0][1]))  # as its index has it
        sort = with_id(order)
        if request.without_total:
            users = await self._store.list_matching_users(where, sort, request.offset, request.count)
            total = len(users)
        else:
            users, total = await self._store.find_users(where, sort, request.offset, request.count)
        shown = [self._visible(public_user(user), actor) for user in users]
        return DocumentsReply(documents=list(map(orjson.dumps, shown)), total=total)

    def _visible(self, user: Document, actor: User) -> Document:
        """What the actor may see of a user without secrets. What somebody prefers is told nobody else."""
        if user["_id"] == actor.id:
            return user
        if self._node.access.may(actor, "view-full-other-user-info"):
            return {name: value for name, value in user.items() if name != "settings"}
        shown = {name: value for name, value in user.items() if name in _SMALL}
        if "customFields" in shown:
            declared = rules.declared_custom_fields(self._node.access.setting("Accounts_CustomFields"))
            shown["customFields"] = {
                name: value
                for name, value in shown["customFields"].items()
                if name in declared and declared[name].public
            }
        return shown


def decoded_object(data: bytes) -> dict[str, Any]:
    """A JSON object from a request's blob; nothing for no bytes. Raises InvalidInput for anything else."""
    if not data:
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidInput("must be object") from error


def _missing(field: str) -> InvalidInput:
    return InvalidInput(f"The field {field} is required", code="error-the-field-is-required", details={"field": field})
