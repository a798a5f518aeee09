"""Login, logout, oneself, and the rules for passwords."""

from typing import Any

import msgspec
import orjson

from palaver.gateway.call import Call
from palaver.gateway.operations import authentication
from palaver.gateway.rest.endpoint import Answer, LooseParams, Params, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.query import parse_fields, select


class Who(LooseParams):
    username: str | None = None
    email: str | None = None
    id: str | None = None


class Digest(LooseParams):
    digest: str | None = None
    algorithm: str = "sha-256"
    hashed: str | None = None


class LoginBody(LooseParams, omit_defaults=True):
    """The forms of rest.md's table; `totp` wraps any other one with a second factor's code."""

    user: Who | str | None = None
    username: str | None = None
    email: str | None = None
    password: Digest | str | None = None
    code: str | None = None
    resume: str | None = None
    totp: dict[str, Any] | None = None


class TokenQuery(Params):
    token: str


class MeQuery(LooseParams):
    fields: str = ""


@endpoint("POST", "login", body=LoginBody, login="none")
async def login(call: Call, body: LoginBody) -> Answer:
    reply = await authentication.login(call, _credentials(body))
    call.user = await call.access.find_user(reply.user_id)
    me = await authentication.describe_me(call, orjson.loads(reply.user))
    return {"status": "success", "data": {"userId": reply.user_id, "authToken": reply.token, "me": me}}


@endpoint("POST", "logout")
@endpoint("GET", "logout")
async def logout(call: Call) -> Answer:
    await authentication.logout(call)
    return {"status": "success", "data": {"message": "You've been logged out!"}}


@endpoint("GET", "me", query=MeQuery)
async def me(call: Call, query: MeQuery) -> Answer:
    fields = parse_fields(query.fields)
    return select(await authentication.get_me(call), fields)


@endpoint("GET", "pw.getPolicy", login="none")
async def get_password_policy(call: Call) -> Answer:
    return authentication.password_policy(call)


@endpoint("GET", "pw.getPolicyReset", query=TokenQuery, login="none")
async def get_password_policy_by_link(call: Call, query: TokenQuery) -> Answer:
    """For who has a link to choose a new password by. The rules are no secret: anybody is told them without one."""
    return authentication.password_policy(call)


def _credentials(body: LoginBody) -> dict[str, Any]:
    """The body in the form of DDP's `login`."""
    if body.totp is not None:
        return {"totp": body.totp}
    credentials: dict[str, Any] = {}
    if body.resume is not None:
        credentials["resume"] = body.resume
    if isinstance(body.user, Who):
        credentials["user"] = msgspec.to_builtins(body.user)
    elif body.user is not None:
        credentials["user"] = body.user
    elif body.username is not None:
        credentials["user"] = {"username": body.username}
    elif body.email is not None:
        credentials["user"] = {"email": body.email}
    if isinstance(body.password, Digest):
        digest = body.password.digest if body.password.digest is not None else body.password.hashed
        if digest is None:
            raise Failure("Match error: Missing key 'digest' in field password")
        credentials["password"] = {"digest": digest, "algorithm": body.password.algorithm}
    elif body.password is not None:
        credentials["password"] = body.password
    if body.code is not None:
        credentials["code"] = body.code
    return credentials
