"""The REST surface: every module that declares endpoints, by name."""

from types import ModuleType

from palaver.gateway.rest import (
    authentication,
    channels,
    chat,
    commands,
    departures,
    groups,
    im,
    info,
    licenses,
    method_call,
    permissions,
    presence,
    roles,
    rooms,
    settings,
    spotlight,
    subscriptions,
    threads,
    uploads,
    users,
)

ENDPOINT_MODULES: tuple[ModuleType, ...] = (
    authentication,
    channels,
    chat,
    commands,
    departures,
    groups,
    im,
    info,
    licenses,
    method_call,
    permissions,
    presence,
    roles,
    rooms,
    settings,
    spotlight,
    subscriptions,
    threads,
    uploads,
    users,
)
