"""What is wrong with a value, in the words of Meteor's `check`. Those of ajv are in `rest/errors.py`."""

import msgspec

_JAVASCRIPT_NAMES = {"int": "number", "float": "number", "str": "string", "bool": "boolean"}


def parts(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and where: "data.name", or nothing for the whole."""
    text, _, path = str(error).partition(" - at `$")
    return text, path.rstrip("`").replace("[...]", "[0]").lstrip(".")


def match_words(error: msgspec.ValidationError) -> str:
    """A validation error as Meteor says it: "Missing key 'x'", "Expected string, got object in field a.b", …"""
    text, path = parts(error)
    names = text.split("`")
    where = f" in field {path}" if path else ""
    if text.startswith("Object missing required field"):
        return f"Missing key '{names[1]}'{where}"
    if text.startswith("Object contains unknown field"):
        return f"Unknown key{where}"
    if text.startswith("Expected `") and len(names) > 3:
        expected = names[1].split(" | ")[0]
        got = "object" if names[3] == "array" else _JAVASCRIPT_NAMES.get(names[3], names[3])
        return f"Expected {_JAVASCRIPT_NAMES.get(expected, expected)}, got {got}{where}"
    return f"Failed validation{where}"
