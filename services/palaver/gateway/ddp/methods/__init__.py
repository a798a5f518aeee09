"""The DDP methods: every module that declares some, by name."""

from types import ModuleType

from palaver.gateway.ddp.methods import (
    license,
    permissions,
    presence,
    settings,
    users,
)

METHOD_MODULES: tuple[ModuleType, ...] = (
    license,
    permissions,
    presence,
    settings,
    users,
)
