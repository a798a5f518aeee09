"""Methods of logins and accounts. Their REST twins are in `rest/authentication.py` and `rest/users.py`.

On a websocket `login` and `logout` belong to the connection (`ddp/server.py`); here they are for `method.call`.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import authentication, policy, usernames, users


class Form(msgspec.Struct, rename="camel"):
    """What `registerUser` takes."""

    email: str | None = None
    password: str = msgspec.field(name="pass", default="")
    username: str = ""
    name: str = ""
    secret: str = msgspec.field(name="secretURL", default="")
    reason: str = ""


class Profile(msgspec.Struct, rename="camel"):
    """What `saveUserProfile` takes."""

    username: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    name: str | UnsetType = msgspec.field(name="realname", default=UNSET)
    bio: str | UnsetType = UNSET
    nickname: str | UnsetType = UNSET
    password: str | UnsetType = msgspec.field(name="newPassword", default=UNSET)
    current_password: str = msgspec.field(name="typedPassword", default="")
    status_text: str | None = None
    status_type: str | None = None


class UserData(users.UserChanges, kw_only=True, rename="camel"):
    """What `insertOrUpdateUser` takes."""

    id: str = msgspec.field(name="_id", default="")


@method("login", dict[str, Any], anonymous=True)
async def login(call: Call, credentials: dict[str, Any]) -> dict[str, Any]:
    reply = await authentication.login(call, credentials)
    return {
        "id": reply.user_id,
        "token": reply.token,
        "tokenExpires": {"$date": reply.expires_at},
        "type": reply.type,
    }


@method("logout", anonymous=True)
async def logout(call: Call) -> None:
    if call.user is not None:
        await authentication.logout(call)


@method("logoutCleanUp", anonymous=True)
async def logout_clean_up(call: Call) -> None:
    """Upstream's own clients call it after `logout`; there is nothing left to do."""


@method("registerUser", Form, anonymous=True)
async def register_user(call: Call, form: Form) -> str:
    """Answers the new user's id. Who gives no username yet has a suggested one until they call `setUsername`."""
    if form.email is None:
        raise InvalidInput("Anonymous users are not offered", code="error-not-allowed")
    user = await users.register_user(
        call,
        users.Registration(
            username=form.username or await usernames.suggest_for(call, form.name, form.email),
            email=form.email,
            password=form.password,
            name=form.name,
            secret=form.secret,
            reason=form.reason,
        ),
    )
    return str(user["_id"])


@method("saveUserProfile", Profile, dict[str, Any] | None)
async def save_user_profile(call: Call, profile: Profile, custom_fields: dict[str, Any] | None) -> bool:
    names = ("username", "email", "name", "bio", "nickname", "password")
    values = {name: getattr(profile, name) for name in names}
    changes = {name: value for name, value in values.items() if value is not UNSET}
    if custom_fields:
        changes["customFields"] = custom_fields
    await users.update_own(
        call,
        changes,
        status=profile.status_type,
        status_text=profile.status_text,
        current_password=profile.current_password,
    )
    return True


@method("saveUserPreferences", dict[str, Any])
async def save_user_preferences(call: Call, preferences: dict[str, Any]) -> bool:
    await users.set_preferences(call, call.me.id, preferences)
    return True


@method("setUsername", str)
async def set_username(call: Call, username: str) -> str:
    await users.update_own(call, {"username": username})
    return username


@method("setRealName", str)
async def set_real_name(call: Call, name: str) -> str:
    await users.update_own(call, {"name": name})
    return name


@method("setEmail", str)
async def set_email(call: Call, email: str) -> str:
    """Another address for oneself; the password comes as the call's second factor."""
    if not call.setting("Accounts_AllowEmailChange"):
        raise NotAllowed("Changing email is not allowed", code="error-action-not-allowed")
    await users.update_own(call, {"email": email})
    return email


@method("afterVerifyEmail")
async def after_verify_email(call: Call) -> None:
    """Upstream gives who has proven their address another role then; here they had it from the beginning."""


@method("saveCustomFields", dict[str, Any] | None)
async def save_custom_fields(call: Call, fields: dict[str, Any] | None) -> None:
    await users.update_own(call, {"customFields": fields or {}})


@method("setAdminStatus", str, bool | None)
async def set_admin_status(call: Call, user_id: str, admin: bool | None) -> None:
    """Makes somebody an administrator, or takes that away."""
    if not call.may("assign-admin-role"):
        raise NotAllowed
    user = await users.get_user(call, user_id, None)
    if bool(admin) != ("admin" in user.roles):
        await policy.set_user_role(call, policy.get_role(call, "admin"), user.username, granted=bool(admin))


@method("setUserPassword", str)
async def set_user_password(call: Call, password: str) -> int:
    """A new password for oneself; the old one comes as the call's second factor."""
    await users.update_own(call, {"password": password})
    return 1


@method("userSetUtcOffset", float)
async def set_utc_offset(call: Call, offset: float) -> None:
    await users.update_own(call, {"utcOffset": offset})


@method("setUserActiveStatus", str, bool, bool | None)
async def set_user_active_status(call: Call, user_id: str, active: bool, confirm: bool | None) -> bool:
    await users.set_active(call, user_id, active, confirm_relinquish=bool(confirm))
    return True


@method("deleteUser", str, bool | None)
async def delete_user(call: Call, user_id: str, confirm: bool | None) -> dict[str, Any]:
    await users.delete_user(call, user_id, confirm_relinquish=bool(confirm))
    return {}


@method("deleteUserOwnAccount", str, bool | None)
async def delete_own_account(call: Call, password: str, confirm: bool | None) -> bool:
    await users.delete_own(call, password, confirm_relinquish=bool(confirm))
    return True


@method("insertOrUpdateUser", UserData, second_factor=True)
async def insert_or_update_user(call: Call, data: UserData) -> Any:
    """Answers the new user's id, or true for one that is changed."""
    if data.id:
        await users.update_user(call, data.id, data)
        return True
    given = {"email": "", "name": "", "password": "", "username": "", **msgspec.to_builtins(data)}
    new = msgspec.convert(given, users.NewUser)
    return (await users.create_user(call, new))["_id"]


@method("checkUsernameAvailability", str)
async def check_username_availability(call: Call, username: str) -> bool:
    return await usernames.is_free(call, username)


@method("getUsernameSuggestion")
async def get_username_suggestion(call: Call) -> str:
    return await usernames.suggest(call)


@method("getPasswordPolicy", anonymous=True)
async def get_password_policy(call: Call) -> dict[str, Any]:
    return authentication.password_policy(call)
