"""The DDP methods: every module that declares some, by name."""

from types import ModuleType

from palaver.gateway.ddp.methods import (
    avatars,
    commands,
    integrations,
    keys,
    letters,
    license,
    messages,
    permissions,
    personal_tokens,
    presence,
    rooms,
    second_factor,
    settings,
    statistics,
    statuses,
    subscriptions,
    users,
)

METHOD_MODULES: tuple[ModuleType, ...] = (
    avatars,
    commands,
    letters,
    integrations,
    keys,
    license,
    messages,
    permissions,
    personal_tokens,
    presence,
    rooms,
    second_factor,
    settings,
    statistics,
    statuses,
    subscriptions,
    users,
)
