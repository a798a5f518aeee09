"""The REST surface: every module that declares endpoints, by name."""

from types import ModuleType

from palaver.gateway.rest import (
    authentication,
    info,
    licenses,
    method_call,
    permissions,
    presence,
    roles,
    settings,
    users,
)

ENDPOINT_MODULES: tuple[ModuleType, ...] = (
    authentication,
    info,
    licenses,
    method_call,
    permissions,
    presence,
    roles,
    settings,
    users,
)
