"""JSON at the edges. Inside, a date is {"$date": ms}: DDP sends it as it is, REST as ISO 8601.

Both directions work on encoded bytes where they can: in JSON text a quote inside a string is always escaped, so
`{"$date":1}` can only be a date and never part of somebody's message.
"""

import re
from datetime import UTC, datetime
from typing import Any

import orjson
from orjson import Fragment

from palaver.errors import InvalidInput

__all__ = [
    "MAX_DEPTH",
    "Fragment",
    "dumps",
    "encode",
    "fragments",
    "iso",
    "loads",
    "parse_iso",
    "rest_dumps",
    "to_iso_dates",
]

_DATE = re.compile(rb'\{"\$date":(-?\d{1,16})\}')

MAX_DEPTH = 64
"""The deepest nesting of what a client may send: it is stored inside other documents, and MongoDB ends at 100."""

_MAX_INTEGER = 2**63 - 1
_LONG_NUMBER = b"0" * len(str(_MAX_INTEGER))
_TO_ZEROS = bytes.maketrans(b"123456789", b"000000000")

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

dumps = orjson.dumps


def loads(data: bytes | str) -> Any:
    """Parses a client's JSON. Raises InvalidInput for anything else, invalid UTF-8 and too deep nesting included."""
    try:
        value = orjson.loads(data)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise InvalidInput(f"Invalid JSON: {error}", code="error-invalid-json") from error
    if _is_deep(data):
        raise InvalidInput("Invalid JSON: nested too deeply", code="error-invalid-json")
    return _storable(value) if _may_be_unstorable(data) else value


def _may_be_unstorable(data: bytes | str) -> bool:
    """Whether valid JSON may have something in it that not every database can store. Of hardly any it is said."""
    text = data.encode() if isinstance(data, str) else data
    return b"\\u0000" in text or _LONG_NUMBER in text.translate(_TO_ZEROS)


def _storable(value: Any) -> Any:
    """The value as every database can store it. Raises InvalidInput for a field with a NUL in its name.

    A number beyond 64 bits is a float, as one beyond what the parser takes for an integer is already.
    """
    if isinstance(value, dict):
        if any("\0" in name for name in value):
            raise InvalidInput("Invalid JSON: a field's name has a NUL", code="error-invalid-json")
        return {name: _storable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    return float(value) if isinstance(value, int) and value > _MAX_INTEGER else value


def encode(value: Any) -> bytes:
    """Encodes what a client sent. Raises InvalidInput for what can't be."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"Invalid JSON: {error}", code="error-invalid-json") from error


def _is_deep(data: bytes | str) -> bool:
    """Whether valid JSON is nested deeper than MAX_DEPTH."""
    opened = data.count("{") + data.count("[") if isinstance(data, str) else data.count(b"{") + data.count(b"[")
    if opened <= MAX_DEPTH:
        return False
    text = data.encode() if isinstance(data, str) else data
    brackets = _STRING.sub(b"", text).translate(_TO_SQUARE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # the innermost ones
        if not brackets:
            return False
    return True


def iso(milliseconds: int) -> str:
    """1700000000123 → "2023-11-14T22:13:20.123Z"."""
    seconds, rest = divmod(milliseconds, 1000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
    except (OverflowError, ValueError, OSError):
        return "1970-01-01T00:00:00.000Z"


def parse_iso(text: str) -> int:
    """An ISO 8601 date, or epoch milliseconds as a number, to epoch milliseconds. Raises InvalidInput."""
    try:
        if text.lstrip("-").isdigit() and 8 < len(text) <= 16:
            return int(text)
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        return round(parsed.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"Invalid date: {text[:40]!r}", code="error-invalid-date") from error


def to_iso_dates(data: bytes) -> bytes:
    """Encoded JSON with the inside form of dates, to the same with ISO dates."""
    if b'{"$date":' not in data:
        return data
    return _DATE.sub(lambda match: b'"' + iso(int(match[1])).encode() + b'"', data)


def rest_dumps(value: Any) -> bytes:
    """Encodes an answer of the REST surface. Values may be documents, and `Fragment`s of encoded ones."""
    return to_iso_dates(orjson.dumps(value))


def fragments(documents: Any) -> list[Fragment]:
    """Encoded documents as parts of an answer, without decoding them."""
    return [Fragment(document) for document in documents]
