"""What a filter means, in plain Python: the other opinion that the adapters are compared with."""

import unicodedata
from typing import Any

from palaver.database import Document, Filter, Sort


def value_of(document: Document, name: str) -> Any:
    """The value of a (dotted) field as it compares: dates as numbers, None when it is absent or null."""
    value: Any = document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value["$date"] if isinstance(value, dict) and "$date" in value else value


def matches(where: Filter, document: Document, text: str = "") -> bool:
    """Whether the document matches; `text` is the field that "$text" searches."""
    for name, condition in where.items():
        if name == "$and":
            fits = all(matches(part, document, text) for part in condition)
        elif name == "$or":
            fits = any(matches(part, document, text) for part in condition)
        elif name == "$text":
            fits = _has_words(condition, str(value_of(document, text) or ""))
        else:
            fits = _fits(value_of(document, name), condition)
        if not fits:
            return False
    return True


def _fits(value: Any, condition: Any) -> bool:
    if not isinstance(condition, dict) or "$date" in condition:
        return _holds(value, condition)
    for operator, operand in condition.items():
        if operator in ("$in", "$nin"):
            fits = any(_holds(value, one) for one in operand) == (operator == "$in")
        elif operator == "$ne":
            fits = not _holds(value, operand)
        elif operator == "$exists":
            fits = (value is not None) == operand
        elif operator == "$contains":
            fits = isinstance(value, str) and operand.casefold() in value.casefold()
        else:
            fits = value is not None and _in_order(operator, value, _plain(operand))
        if not fits:
            return False
    return True


def _plain(operand: Any) -> Any:
    return operand["$date"] if isinstance(operand, dict) else operand


def _holds(value: Any, operand: Any) -> bool:
    return _plain(operand) in value if isinstance(value, list) else bool(value == _plain(operand))


def _in_order(operator: str, value: Any, operand: Any) -> bool:
    if isinstance(value, str):
        value, operand = value.encode(), operand.encode()
    return bool(
        {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand}[operator]
    )


# Of these writings one run is a whole sentence.
_DENSE = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "HANGUL", "THAI")


def words_of(text: str) -> list[str]:
    """The words of a text: runs of letters, digits and emoji, in lower case, without accents."""
    words, last = [""], ""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    for character in folded:
        name = unicodedata.name(character, "")
        if name.startswith(("COMBINING ", "VARIATION SELECTOR")):
            kind = last
            if "KATAKANA-HIRAGANA" not in name:
                continue
        elif name.startswith(_DENSE) or (unicodedata.category(character) in ("So", "Sk") and ord(character) > 0x2000):
            kind = "dense"
        else:
            kind = "spaced" if character.isalnum() else ""
        if kind != last:
            words.append("")
        words[-1] += (character if character != "ı" else "i") if kind else ""
        last = kind
    return [unicodedata.normalize("NFC", word) for word in words if word]


def _pieces_of(word: str) -> list[str]:
    """What an index can look up of it at once."""
    length = 4 if unicodedata.name(word[0]).startswith((*_DENSE, "EMOJI")) or not word[0].isalnum() else 8
    starts = [*range(0, max(1, len(word) - length), length), max(0, len(word) - length)]
    return [word[start : start + length] for start in starts]


def _has_words(query: str, text: str) -> bool:
    wanted, there = words_of(query), words_of(text)
    return bool(wanted) and all(any(piece in word for word in there) for part in wanted for piece in _pieces_of(part))


def sort_documents(documents: list[Document], sort: Sort) -> list[Document]:
    """The documents in order: absent before everything else, strings by their bytes."""
    for name, direction in reversed(sort):
        documents = sorted(documents, key=lambda document: _rank(value_of(document, name)), reverse=direction < 0)
    return documents


def _rank(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (1, value.encode() if isinstance(value, str) else value)
