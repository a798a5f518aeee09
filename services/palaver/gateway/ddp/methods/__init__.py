"""The DDP methods: every module that declares some, by name."""

from types import ModuleType

METHOD_MODULES: tuple[ModuleType, ...] = ()
