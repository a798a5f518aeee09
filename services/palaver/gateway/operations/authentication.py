"""Logging in and out, and oneself. Shared by `rest/authentication.py` and `ddp/methods/users.py`."""

import secrets
import string
from itertools import cycle, islice
from typing import Any
from urllib.parse import quote

import orjson

from palaver.gateway.call import Call
from palaver.gateway.ddp.login import login_request
from palaver.gateway.operations.presence import join_status
from palaver.v1.auth_pb2 import GetUserRequest, LoginReply, LogoutRequest

_PREFERENCES = "Accounts_Default_User_Preferences_"
_NOT_IN_ME = "omnichannelTranscriptPDF"
_PASSWORD_POLICY = "Accounts_Password_Policy_"
_KINDS_OF_CHARACTERS = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "-_.+")
_RANDOM_LENGTH = 40


async def login(call: Call, credentials: dict[str, Any]) -> LoginReply:
    """Logs in with any of the forms that clients send.

    Raises LoginFailed, SecondFactorRequired, MatchFailed, TooManyRequests.
    """
    request = login_request(credentials)
    call.admission.check_login()
    request.second_factor_code = request.second_factor_code or call.second_factor_code
    request.second_factor_method = call.second_factor_method
    request.address = call.address
    request.user_agent = call.user_agent
    request.instance_id = call.config.node_id
    return await call.services.auth.login(request)


async def logout(call: Call) -> None:
    """Ends the login that the call came with."""
    await call.services.auth.logout(LogoutRequest(actor=call.actor, hashed_token=call.hashed_token))


async def logout_others(call: Call) -> None:
    """Ends every other login of the caller."""
    await call.services.auth.logout(LogoutRequest(actor=call.actor, hashed_token=call.hashed_token, others=True))


async def get_me(call: Call) -> dict[str, Any]:
    """The caller's own document, in the form of `me`."""
    reply = await call.services.auth.get_user(GetUserRequest(actor=call.actor, user_id=call.me.id))
    return await describe_me(call, orjson.loads(reply.user))


async def describe_me(call: Call, user: dict[str, Any]) -> dict[str, Any]:
    """One's own document with what `me` adds: e-mail address, status, every preference, the avatar's address."""
    me = dict(user)
    await join_status(call, [me])
    verified = [email["address"] for email in me.get("emails", ()) if email.get("verified")]
    if verified:
        me["email"] = verified[0]
    settings = me.get("settings") or {}
    preferences = {**default_preferences(call), **(settings.get("preferences") or {})}
    me["settings"] = {"profile": {}, **settings, "preferences": preferences}
    me["avatarUrl"] = avatar_url(call, me.get("username", ""))
    return me


def default_preferences(call: Call) -> dict[str, Any]:
    """The workspace's value of every preference that a user may choose otherwise."""
    found = {
        id.removeprefix(_PREFERENCES): setting["value"]
        for id, setting in call.access.policy.settings.items()
        if id.startswith(_PREFERENCES)
    }
    found.pop(_NOT_IN_ME, None)
    return found


def avatar_url(call: Call, username: str) -> str:
    site = str(call.setting("Site_Url") or call.config.site_url).rstrip("/")
    return f"{site}/avatar/{quote(username, safe='')}"


def password_policy(call: Call) -> dict[str, Any]:
    """The rules for new passwords, as clients show them."""
    prefix = _PASSWORD_POLICY
    if not call.setting(f"{prefix}Enabled"):
        return {"enabled": False, "policy": []}
    rules: list[list[Any]] = []
    for name, shown in (("MinLength", "minLength"), ("MaxLength", "maxLength")):
        length = call.setting(prefix + name)
        if isinstance(length, int) and length >= 1:
            rules.append([f"get-password-policy-{shown}", {shown: length}])
    if call.setting(f"{prefix}ForbidRepeatingCharacters"):
        rules.append(["get-password-policy-forbidRepeatingCharacters"])
        most = call.setting(f"{prefix}ForbidRepeatingCharactersCount")
        if most:
            shown = "forbidRepeatingCharactersCount"
            rules.append([f"get-password-policy-{shown}", {shown: most}])
    rules.extend(
        [f"get-password-policy-mustContain{name}"]
        for name in ("AtLeastOneLowercase", "AtLeastOneUppercase", "AtLeastOneNumber", "AtLeastOneSpecialCharacter")
        if call.setting(prefix + name)
    )
    return {"enabled": True, "policy": rules}


def random_password(call: Call) -> str:
    """A password that nobody knows, of the kind that the settings want. Kinds take turns: no character repeats."""
    length = _RANDOM_LENGTH
    if call.setting(f"{_PASSWORD_POLICY}Enabled"):
        least, most = (int(call.setting(_PASSWORD_POLICY + name)) for name in ("MinLength", "MaxLength"))
        length = max(length, least) if most < 1 else min(max(length, least), most)
    return "".join(secrets.choice(kind) for kind in islice(cycle(_KINDS_OF_CHARACTERS), length))
