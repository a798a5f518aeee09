"""Names of tables and fields as SQL has them. Called by whatever writes statements."""


def quote(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def json_path(field: str) -> str:
    """The (dotted) field as an SQL literal of a JSON path."""
    return "'$" + "".join(f'."{part}"' for part in field.split(".")).replace("'", "''") + "'"
