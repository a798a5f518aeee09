"""Whether an object is as it shall be: compared with what was built, without asking the API server.

Used by reconcile.py.
"""

import hashlib
from typing import Any

import msgspec

from palaver_operator.objects.naming import Object

DIGEST = "palaver.chat/digest"

# By what the entries of Kubernetes' lists are known, where their order means nothing.
_KEYS = ("name", "containerPort", "port", "mountPath", "topologyKey", "type", "kind", "ip", "key")


def seal(built: Object) -> None:
    """Writes a digest of an object into it, so that fields that were taken away are missed, too."""
    annotations = built["metadata"].setdefault("annotations", {})
    annotations.pop(DIGEST, None)
    annotations[DIGEST] = hashlib.sha256(msgspec.json.encode(built, order="sorted")).hexdigest()[:16]


def is_as_wanted(live: Object, wanted: Object) -> bool:
    """Whether a live object has everything that is wanted. Others may have added fields, and entries with other names.

    Not to what may be reached, though: there, one entry more is one way more.
    """
    if wanted["kind"] == "NetworkPolicy" and not _covers(live.get("spec"), wanted["spec"], True):
        return False
    return _covers(live, wanted, False)


def _covers(live: Any, wanted: Any, exact: bool) -> bool:
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return not wanted and live is None
        if exact and not live.keys() <= wanted.keys():
            return False  # one more condition on who is meant may mean others
        return all(_covers(live.get(key), value, exact) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        return _covers_list(live or [], wanted, exact)
    if wanted is None or wanted in ("", False, 0):
        return live in (None, "", False, 0)  # the API server leaves out what is empty
    return bool(live == wanted)


def _covers_list(live: Any, wanted: Any, exact: bool) -> bool:
    if not isinstance(live, list):
        return False
    key = None if exact else _find_key(wanted)
    if key is None:
        return len(live) == len(wanted) and all(_covers(*both, exact) for both in zip(live, wanted, strict=True))
    there = {entry.get(key): entry for entry in live if isinstance(entry, dict)}
    return all(entry[key] in there and _covers(there[entry[key]], entry, exact) for entry in wanted)


def _find_key(entries: Any) -> str | None:
    """What tells these entries apart; None if nothing does."""
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        return None
    for key in _KEYS:
        values = [entry.get(key) for entry in entries]
        if all(isinstance(value, (str, int)) for value in values) and len(set(values)) == len(values):
            return key
    return None


def as_answered(answer: Any, wanted: Any) -> Any:
    """What is wanted, in the form that the API server gave it ("1000m" became "1")."""
    if isinstance(wanted, dict) and isinstance(answer, dict):
        return {key: as_answered(answer[key], value) for key, value in wanted.items() if key in answer}
    if isinstance(wanted, (list, tuple)) and isinstance(answer, list):
        key = _find_key(wanted)
        if key is None:
            return [as_answered(there, value) for there, value in zip(answer, wanted, strict=False)]
        there = {entry.get(key): entry for entry in answer if isinstance(entry, dict)}
        return [as_answered(there[entry[key]], entry) for entry in wanted if entry[key] in there]
    return answer
