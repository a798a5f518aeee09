"""The REST surface: every module that declares endpoints, by name."""

from types import ModuleType

ENDPOINT_MODULES: tuple[ModuleType, ...] = ()
