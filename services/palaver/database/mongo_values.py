"""How a document lies in MongoDB: real dates, words to search by, and keys that no server refuses.

- {"$date": ms} is a BSON date, at every depth and in both directions.
- A nested key that begins with "$" (or with "＄", so that it stays unambiguous) is stored with a "＄" before it: users
  choose such keys (reactions, custom fields), and drivers take {"$ref": …} for something else. Dots stay as they are.
- `room_seq`, `user_seq` and `workspace_seq` are the guards of `Put`, `WORDS` what the text is found by that can be
  searched (`text.py`); no caller sees them. `applied_seq` is seen.
"""

from typing import Any

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from palaver.database import STREAM_COLLECTIONS, Document
from palaver.database.schema import COLLECTIONS
from palaver.database.text import keys_of

GUARDS = {kind: f"{kind}_seq" for kind in STREAM_COLLECTIONS}

# A field that no caller can name: names have no backslash.
WORDS = "\\words"

_INTERNAL = frozenset({*GUARDS.values(), WORDS})
_MARK = "\uff04"
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1


def encode(value: Any) -> Any:
    """A value of a document as BSON has it. Raises ValueError for what can't be stored."""
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is float:
        return value
    if kind is dict:
        if len(value) == 1 and type(date := value.get("$date")) is int:
            return DatetimeMS(_checked(date))
        return {_encode_key(key): encode(inner) for key, inner in value.items()}
    if kind is list:
        return [encode(inner) for inner in value]
    if kind is int:
        return _checked(value)
    raise ValueError(f"not a value of a document: {value!r}")


def _checked(number: int) -> int:
    if not _MIN_INTEGER <= number <= _MAX_INTEGER:
        raise ValueError(f"too large a number: {number}")
    return number


def _encode_key(key: str) -> str:
    if "\0" in key:
        raise ValueError(f"not a key: {key!r}")
    return _MARK + key if key[:1] in ("$", _MARK) else key


def decode(value: Any) -> Any:
    """A value of BSON as documents have it."""
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is float or kind is int:
        return value
    if kind is dict:
        return {key[1:] if key[:1] == _MARK else key: decode(inner) for key, inner in value.items()}
    if kind is list:
        return [decode(inner) for inner in value]
    if kind is DatetimeMS:
        return {"$date": int(value)}
    if kind is Int64:
        return int(value)
    return value  # written by another program


def decode_document(stored: dict[str, Any]) -> Document:
    """A stored document as its callers see it."""
    return {name: decode(value) for name, value in stored.items() if name not in _INTERNAL}


def add_words(collection: str, stored: dict[str, Any]) -> None:
    """Adds what the searched text is found by to a document that is born, if its collection has one."""
    name = COLLECTIONS[collection].text
    if name and isinstance(text := stored.get(name), str) and (words := keys_of(text)):
        stored[WORDS] = words
