"""Named points between two writes and before every publish, where a test stops the process.

Off in production: `reach` is one test of an empty dictionary. Tests arm a point in this process (`arm`), or in
a child by `PALAVER_FAILPOINTS=name[:n],…`, which kills the process (SIGKILL) the n-th time it gets there.
"""

import os
import signal
from collections.abc import Callable

# Every name there is, in the order in which a command passes them.
NAMES = (
    "commit.before_append",
    "commit.after_append",
    "commit.between_projections",
    "commit.before_advance",
    "commit.after_advance",
    "commit.before_answer",
    "tell.before_publish",
    "tell.between_publishes",
    "tell.before_mark",
    "tell.after_mark",
    "claim.after_claim",
    "rename.between_rooms",
    "departure.between_rooms",
    "departure.between_name_and_leaving",
    "departure.between_erasures",
    "discussion.before_deletion",
    "preview.after_record",
    "preview.after_commit",
    "takeout.before_archive",
    "takeout.before_done",
    "export.after_file",
    "export.before_letter",
    "export.after_letter",
    "export.before_end",
    "prune.between_events",
    "retention.after_room",
    "team.between_rooms",
    "webhook.after_add",
    "webhook.before_post",
    "webhook.after_post",
    "backup.after_part",
    "restore.after_batch",
    "restore.after_upload",
)

_armed: dict[str, Callable[[], None]] = {}


def reach(name: str) -> None:
    """Does what was armed for this name: nothing, in production."""
    if _armed and (action := _armed.get(name)) is not None:
        action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Runs `action` whenever the point is reached, until `disarm`. The action may raise."""
    if name not in NAMES:
        raise ValueError(f"no such failpoint: {name}")
    _armed[name] = action


def disarm() -> None:
    _armed.clear()


def arm_from_environment(specification: str) -> None:
    """Arms kills from `name[:n],…`: the process gets SIGKILL the n-th time (default: the first) it is there."""
    for part in filter(None, specification.split(",")):
        name, _, count = part.partition(":")
        arm(name, _kill_after(int(count or 1)))


def _kill_after(count: int) -> Callable[[], None]:
    left = count

    def action() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return action
