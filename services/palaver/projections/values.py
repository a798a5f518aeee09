"""What projections share: how values stand in documents."""

from typing import Any

import orjson

from palaver.database import Document, Put


def date(milliseconds: int) -> Document:
    return {"$date": milliseconds}


def loaded(data: bytes) -> Any:
    return orjson.loads(data) if data else {}


def saved(collection: str, document_id: str, data: bytes) -> list[Put]:
    """Creates the document or replaces its fields: it may have lived only in the defaults until now."""
    document = loaded(data)
    rest = {name: value for name, value in document.items() if name != "_id"}
    return [
        Put(collection, document_id, insert=document),
        Put(collection, document_id, set=rest, unset=("deleted_at",)),
    ]
