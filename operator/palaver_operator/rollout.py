"""What may roll next: pure rules, called by reconcile.py with what it sees.

A **revision** is what a component's pods are made from, known by a digest of what the resource says about them. A new
one rolls through the components in their order, callee before caller, so gateways last; each must be ready and have
been watched before the next begins. If one doesn't get ready, or fails more often than before, all of them go back to
their stable revision, the last with which everything was well, and the failed one is not tried again until the resource
says something else, or says that it be tried again.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Turn(Enum):
    """Which revision a component is to have now."""

    WANTED = "wanted"
    CURRENT = "current"
    STABLE = "stable"


class Migration(Enum):
    """How far the database is brought to the version that is wanted."""

    NOT_NEEDED = "not needed"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    RESTORING = "restoring"  # the database is made of an archive, before any role runs
    NOT_RESTORED = "not restored"


class Phase(Enum):
    COMPLETE = "Complete"
    WAITING = "Waiting"  # for a component that others need first
    RESTORING = "Restoring"
    MIGRATING = "Migrating"
    ROLLING = "Rolling"
    WATCHING = "Watching"  # whether a component that is ready does its work
    ROLLED_BACK = "RolledBack"


@dataclass(frozen=True, slots=True)
class Component:
    """One workload, as it is. Revisions are named by their digests; None: there is none."""

    name: str
    wanted: str
    current: str | None
    stable: str | None
    is_ready: bool  # all pods are of `current`, and serve
    trouble: str = ""  # a sentence: why `current` won't get ready
    is_watched: bool = True  # `current` has shown for long enough how it does
    is_backing: bool = False  # a database or NATS: the roles are not made before it is ready for the first time


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    `component`: the one that everything waits for, or that failed; `failed`: the target not to try again.
    """

    turns: dict[str, Turn]  # a component that is to be made later is not in it
    phase: Phase
    component: str = ""
    message: str = ""
    failed: str = ""


def name_target(components: Sequence[Component], retry: str = "") -> str:
    """A name for everything that is wanted together, and for this attempt at it."""
    named = [*(one.wanted for one in components), *([retry] if retry else [])]
    return hashlib.sha256(" ".join(named).encode()).hexdigest()[:16]


def decide(components: Sequence[Component], failed: str, migration: Migration, retry: str = "") -> Decision:
    """`components` in the order in which they roll; `failed`: what the last decision said; `retry`: what the resource
    says so that the same is another attempt."""
    if migration in (Migration.RESTORING, Migration.NOT_RESTORED):
        message = "The archive could not be restored" if migration is Migration.NOT_RESTORED else ""
        there = [one for one in components if one.is_backing or one.current is not None]
        return Decision(_keep(there), Phase.RESTORING, "restore", message)
    target = name_target(components, retry)
    if failed == target:
        return _roll_back(components, target, "", "")
    if migration is Migration.FAILED:
        # Its Job is what remembers that: without it, or with another, the migration is tried again.
        return _roll_back(components, "", "migrate", "the migration of the database failed; nothing was rolled")
    for one in components:
        if one.trouble and one.current == one.wanted and one.stable not in (None, one.current):
            return _roll_back(components, target, one.name, one.trouble)
    if migration is Migration.RUNNING:
        return Decision(_keep(components), Phase.MIGRATING)
    return _go_on(components)


def _go_on(components: Sequence[Component]) -> Decision:
    turns: dict[str, Turn] = {}
    waiting_for: Component | None = None
    for one in components:
        if waiting_for is None or (one.current is None and (one.is_backing or not waiting_for.is_backing)):
            # The first that is not as it shall be, everything before it being ready; or what was never there.
            turns[one.name] = Turn.WANTED
        elif one.current is not None:
            turns[one.name] = Turn.CURRENT
        if waiting_for is None and not (one.current == one.wanted and one.is_ready and one.is_watched):
            waiting_for = one
    if waiting_for is None:
        return Decision(turns, Phase.COMPLETE)
    if waiting_for.current == waiting_for.wanted and waiting_for.is_ready:
        return Decision(turns, Phase.WATCHING, waiting_for.name)
    is_new = waiting_for.current != waiting_for.wanted or waiting_for.stable != waiting_for.wanted
    phase = Phase.ROLLING if is_new and waiting_for.stable is not None else Phase.WAITING
    return Decision(turns, phase, waiting_for.name, waiting_for.trouble)


def _roll_back(components: Sequence[Component], target: str, name: str, message: str) -> Decision:
    turns = {
        one.name: Turn.STABLE if one.stable is not None else Turn.WANTED if one.current is None else Turn.CURRENT
        for one in components
    }
    return Decision(turns, Phase.ROLLED_BACK, name, message, failed=target)


def _keep(components: Sequence[Component]) -> dict[str, Turn]:
    """Nothing changes but what is not there at all."""
    return {one.name: Turn.WANTED if one.current is None else Turn.CURRENT for one in components}


class _Version(NamedTuple):
    major: int
    minor: int
    patch: int


_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?")


def refuse_jump(running: str, wanted: str) -> str:
    """Why this version can't follow the one that runs, as a sentence; empty if it can, or if nothing runs.

    Processes of two neighbouring minor versions live beside each other while one rolls after the other; no others do.
    """
    if not running or running == wanted:
        return ""
    before, after = _parse(running), _parse(wanted)
    if before is None or after is None:
        return f"Version {wanted if after is None else running} is not like 1.4.2"
    if after < before:
        return (
            f"Version {wanted} is older than {running}, which runs: the database may hold what it does not know. "
            "Restore a backup of that version into a new workspace instead"
        )
    if after.major == before.major and after.minor > before.minor + 1:
        return (
            f"From {running} to {wanted} is more than one minor version: go by "
            f"{before.major}.{before.minor + 1} first, as neighbours are all that live beside each other"
        )
    if after.major > before.major and (after.major > before.major + 1 or after.minor > 0):
        return f"From {running} to {wanted} is too far: go by {before.major + 1}.0 first"
    return ""


def is_older(version: str, other: str) -> bool:
    """Whether a version comes before another one; of what is no version nothing is said."""
    before, after = _parse(version), _parse(other)
    return before is not None and after is not None and before < after


def _parse(text: str) -> _Version | None:
    found = _VERSION.fullmatch(text)
    return _Version(*(int(part) for part in found.groups()[:3])) if found else None
