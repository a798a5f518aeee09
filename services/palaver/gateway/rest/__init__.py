"""The REST surface: every module that declares endpoints, by name."""

from types import ModuleType

from palaver.gateway.rest import (
    authentication,
    channels,
    chat,
<<<<<<< HEAD
    commands,
    departures,
=======
    discussions,
>>>>>>> 50f5ff3 (Discussions: rooms beside their parent, which tells of them and says who may hear them)
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
<<<<<<< HEAD
    commands,
    departures,
=======
    discussions,
>>>>>>> 50f5ff3 (Discussions: rooms beside their parent, which tells of them and says who may hear them)
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
