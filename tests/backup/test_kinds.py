"""What a backup has of a workspace's state: every kind of record is said to be in it or not."""

import ast
import importlib
import pkgutil
from pathlib import Path

import palaver
from palaver.database.schema import RECORDS
from tests.backup.conftest import MakeStorage
from tests.backup.workspace import back_up, restore, storage_of
from tests.messaging.helpers import Chat


def list_kinds() -> set[str]:
    """The first argument of every `put_record` in the product."""
    found: set[str] = set()
    for info in pkgutil.walk_packages(palaver.__path__, "palaver."):
        spec = importlib.util.find_spec(info.name)
        if (
            spec is None
            or not spec.origin
            or info.name.startswith(("palaver.database", "palaver.backup", "palaver.v1"))
        ):
            continue
        source = Path(spec.origin).read_text(encoding="utf-8")
        for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr == "put_record":
                assert isinstance(call.args[0], ast.Name), f"{info.name}: the kind is no constant"
                found.add(getattr(importlib.import_module(info.name), call.args[0].id))
    return found


def test_each_kind_of_record_is_declared() -> None:
    """One that is new has to be decided on: `schema.py` says whether a backup has it."""
    assert list_kinds() == RECORDS.keys()


async def test_what_is_declared_comes_along(local: Chat, tmp_path: Path, make_storage: MakeStorage) -> None:
    for kind in RECORDS:
        await local.database.put_record(kind, "of-the-test", {"at": 1})
    target = await make_storage("sqlite")
    await back_up(storage_of(local), tmp_path / "archive")
    await restore(tmp_path / "archive", target)
    restored = {kind for kind in RECORDS if await target.database.find_record(kind, "of-the-test") is not None}
    assert restored == {kind for kind, is_kept in RECORDS.items() if is_kept}
