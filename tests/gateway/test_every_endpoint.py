"""What must hold for each endpoint and each method that is declared, whoever wrote it.

Wrong parameters of endpoints are in `test_wrong_input.py`, permissions in `test_permissions.py`.
"""

from types import ModuleType
from typing import Any

import pytest

from palaver.gateway import rest
from palaver.gateway.ddp.method import methods_of
from palaver.gateway.ddp.methods import METHOD_MODULES
from palaver.gateway.rest.endpoint import Endpoint, endpoints_of
from tests.gateway.rest import Client, as_admin

ENDPOINTS = [declared for module in rest.ENDPOINT_MODULES for declared in endpoints_of(module)]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


DEEP = nested(300)
HOSTILE: tuple[Any, ...] = (
    {"$ne": ""},
    {"$regex": ".*"},
    [{"$gt": ""}],
    2**60,
    2**70,
    -1,
    1e300,
    "\u0000",
    {"$date": "x"},
    {"$date": 2**60},
    DEEP,
    None,
)

ENDS_LOGINS = ("logout", "e2e.resetOwnE2EKey")
"""Methods after which their caller has to log in again."""


def name(declared: Endpoint) -> str:
    return f"{declared.method} {declared.path}"


def short_name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def path_of(declared: Endpoint, value: str = "unknown") -> str:
    return "/".join(value if part.startswith(":") else part for part in declared.path.split("/"))


async def test_login_is_required_where_it_is_declared(anybody: Client) -> None:
    refused = {"status": "error", "message": "You must be logged in to do this."}
    for declared in ENDPOINTS:
        if declared.login == "required":
            answer = await anybody.request(declared.method, path_of(declared))
            assert (answer.status_code, answer.json()) == (401, refused), name(declared)


async def test_every_permission_exists(anybody: Client) -> None:
    known = anybody.node.access.policy.permissions
    for declared in ENDPOINTS:
        assert set(declared.permissions) <= known.keys(), name(declared)


async def test_every_rate_limit_has_its_setting(anybody: Client) -> None:
    for declared in ENDPOINTS:
        if declared.rate_limit is not None and declared.rate_limit.setting:
            assert isinstance(anybody.node.access.setting(declared.rate_limit.setting), int), name(declared)


async def test_hostile_paths_are_no_crash(anybody: Client) -> None:
    admin = await as_admin(anybody)
    for declared in ENDPOINTS:
        if not declared.parameter_names:
            continue
        for value in ("%00", "..", "%2e%2e", "$ne", "x" * 2000, "%ff", "%7B%22$ne%22:1%7D"):
            answer = await admin.request(declared.method, path_of(declared, value), json={} if declared.body else None)
            assert answer.status_code < 500, (name(declared), value, answer.text)


@pytest.mark.parametrize("module", METHOD_MODULES, ids=short_name)
async def test_hostile_arguments_are_no_crash(anybody: Client, admin: Client, module: ModuleType) -> None:
    for number, (method, declared) in enumerate(methods_of(module).items()):
        # Another one each time: the method may be one that changes its caller.
        username = f"admin{number}"
        caller = await admin.make_user(username, roles=["admin"])
        count = len(declared.parameters)
        for hostile in HOSTILE:
            # What is nested deeper than a client may is no valid call at all.
            hostile = nested(30) if hostile == DEEP else hostile
            for arguments in ([hostile] * count, [hostile] * (count + 1), ["", hostile]):
                if method in ENDS_LOGINS:
                    caller = await anybody.login(username)
                frame = await caller.call(method, *arguments)
                assert frame.get("error", {}).get("error") != 500, (method, arguments, frame)
        if not declared.anonymous:
            frame = await anybody.call(method, anonymous=True)
            assert frame["error"]["error"] == "error-invalid-user", method
