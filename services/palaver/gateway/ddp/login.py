"""The many forms in which clients say who they are, to the one that auth understands."""

from typing import Any

import msgspec

from palaver.errors import LoginFailed
from palaver.gateway.ddp.method import MatchFailed
from palaver.v1.auth_pb2 import LoginRequest


class _Who(msgspec.Struct):
    username: str | None = None
    email: str | None = None
    id: str | None = None


class Digest(msgspec.Struct):
    """A password as its SHA-256 in hexadecimal."""

    digest: str
    algorithm: str = "sha-256"


class _Credentials(msgspec.Struct):
    resume: str | None = None
    user: _Who | str | None = None
    password: Digest | str | None = None
    code: str | None = None


class UnknownLogin(LoginFailed):
    code = "400"
    reason = "Unrecognized options for login request"


def login_request(credentials: Any) -> LoginRequest:
    """`login`'s parameter to a request. Raises MatchFailed for wrong types, UnknownLogin for what is no known form."""
    code = ""
    if isinstance(credentials, dict) and isinstance(totp := credentials.get("totp"), dict):
        code = str(totp.get("code") or "")
        credentials = totp.get("login")
    try:
        given = msgspec.convert(credentials, _Credentials)
    except msgspec.ValidationError as error:
        raise MatchFailed from error
    request = LoginRequest(second_factor_code=code or given.code or "")
    if given.resume is not None:
        request.resume = given.resume
    elif given.user is not None and given.password is not None:
        _set_user(request.password, given.user)
        if isinstance(given.password, str):
            request.password.plain = given.password
        elif given.password.algorithm == "sha-256":
            request.password.sha256 = given.password.digest
        else:
            raise UnknownLogin
    else:
        raise UnknownLogin
    return request


def _set_user(password: LoginRequest.Password, user: _Who | str) -> None:
    if isinstance(user, str):
        password.name_or_email = user
    elif user.username is not None:
        password.username = user.username
    elif user.email is not None:
        password.email = user.email
    elif user.id is not None:
        password.user_id = user.id
    else:
        raise MatchFailed


def strip_second_factor(parameters: list[Any]) -> tuple[list[Any], str, str]:
    """Takes off the trailing argument that carries a second factor: (parameters, code, method)."""
    if parameters and isinstance(last := parameters[-1], dict) and "twoFactorCode" in last:
        code, method = last.get("twoFactorCode"), last.get("twoFactorMethod")
        return parameters[:-1], code if isinstance(code, str) else "", method if isinstance(method, str) else ""
    return parameters, "", ""
