"""Palaver: self-hosted team chat that speaks Rocket.Chat's public APIs and scales from one process to a cluster."""

__version__ = "0.1.0"
