"""The conditions of a workspace, each reason with its sentence: what `kubectl describe palaver` says.

Pure; used by status.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why a condition is as it is."""

    ALL_ROLES_READY = "AllRolesReady"
    ROLE_UNAVAILABLE = "RoleUnavailable"
    COMPLETE = "Complete"
    CREATING = "Creating"
    RESTORING = "Restoring"
    MIGRATING = "Migrating"
    ROLLING_OUT = "RollingOut"
    WATCHING = "Watching"
    ROLLED_BACK = "RolledBack"
    OPERATOR_OLDER = "OperatorOlder"
    PAUSED = "Paused"
    AS_EXPECTED = "AsExpected"
    ROLE_BELOW_FLOOR = "RoleBelowFloor"
    COMPONENT_FAILING = "ComponentFailing"
    VERSION_REFUSED = "VersionRefused"
    SPEC_INVALID = "SpecInvalid"
    SECRET_MISSING = "SecretMissing"
    SETTINGS_REFUSED = "SettingsRefused"
    KIND_MISSING = "KindMissing"
    APPLY_FAILED = "ApplyFailed"
    RECONCILE_FAILED = "ReconcileFailed"


SENTENCES: dict[Reason, str] = {
    Reason.ALL_ROLES_READY: "Every role has a pod that serves",
    Reason.ROLE_UNAVAILABLE: "A role has no pod that serves",
    Reason.COMPLETE: "Everything is as the resource says",
    Reason.CREATING: "The workspace is being made",
    Reason.RESTORING: "The workspace is made of an archive; then its roles start",
    Reason.MIGRATING: "The database is brought to the new version; then the roles roll",
    Reason.ROLLING_OUT: "A new revision rolls, one role after the other",
    Reason.WATCHING: "A role serves with the new revision and is watched before the roll-out goes on",
    Reason.ROLLED_BACK: (
        "The new revision failed and was taken back; it is tried again when the resource changes, or its annotation "
        "palaver.chat/retry does"
    ),
    Reason.OPERATOR_OLDER: "The version that is wanted waits for an operator that is as new; what runs stays as it is",
    Reason.PAUSED: "spec.paused is true: the operator leaves the workspace as it is",
    Reason.AS_EXPECTED: "Nothing is wrong",
    Reason.ROLE_BELOW_FLOOR: "A role has fewer ready pods than its min",
    Reason.COMPONENT_FAILING: "A component does not get ready",
    Reason.VERSION_REFUSED: "The version in the resource can't follow the one that runs",
    Reason.SPEC_INVALID: "The resource can't be understood",
    Reason.SECRET_MISSING: "A Secret that the resource names is missing, or lacks a key",
    Reason.SETTINGS_REFUSED: "spec.settings is not taken, and the settings stay as they were",
    Reason.KIND_MISSING: "The cluster does not know a kind of object that the resource asks for",
    Reason.APPLY_FAILED: "The API server refused an object",
    Reason.RECONCILE_FAILED: "The operator could not do its work, and tries again",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason with what is particular to this case."""

    reason: Reason
    details: str = ""

    @property
    def message(self) -> str:
        sentence = SENTENCES[self.reason]
        return f"{sentence}: {self.details}." if self.details else f"{sentence}."


@dataclass(frozen=True, slots=True)
class Condition:
    """`is_true`: None is Unknown."""

    type: str
    is_true: bool | None
    finding: Finding


def make_conditions(available: Finding, progressing: Finding, problems: Sequence[Finding]) -> list[Condition]:
    """All three of them. The first of the problems is the one that is named."""
    degraded = problems[0] if problems else Finding(Reason.AS_EXPECTED)
    moving = (
        Reason.CREATING,
        Reason.RESTORING,
        Reason.MIGRATING,
        Reason.ROLLING_OUT,
        Reason.WATCHING,
        Reason.OPERATOR_OLDER,
    )
    return [
        Condition("Available", available.reason is Reason.ALL_ROLES_READY, available),
        Condition("Progressing", progressing.reason in moving, progressing),
        Condition("Degraded", bool(problems), degraded),
    ]


def show_conditions(
    conditions: Sequence[Condition], before: Sequence[dict[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """As they stand in the status; `before`: as they stood. `now`: RFC 3339, for those whose status has changed."""
    old = {entry["type"]: entry for entry in before}
    found = []
    for condition in conditions:
        status = {True: "True", False: "False", None: "Unknown"}[condition.is_true]
        was = old.get(condition.type)
        since = was["lastTransitionTime"] if was is not None and was["status"] == status else now
        found.append(
            {
                "type": condition.type,
                "status": status,
                "observedGeneration": generation,
                "lastTransitionTime": since,
                "reason": str(condition.finding.reason),
                "message": condition.finding.message,
            }
        )
    return found


def name_state(conditions: Sequence[Condition]) -> str:
    """The reason that matters most, in one word for a column."""
    available, progressing, degraded = conditions
    if degraded.is_true:
        return str(degraded.finding.reason)
    if progressing.is_true or progressing.finding.reason is Reason.PAUSED:
        return str(progressing.finding.reason)
    return "Ready" if available.is_true else str(available.finding.reason)
