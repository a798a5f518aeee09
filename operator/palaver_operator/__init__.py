"""The operator of Palaver: turns a `Palaver` resource into a running workspace and keeps it so."""

__version__ = "0.1.0"
