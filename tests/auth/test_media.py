"""The workspace's own emoji and sounds, as auth keeps them: whose a name is, who may, and what is still in use."""

import asyncio
from typing import Any

import orjson
import pytest

from palaver.api import Auth
from palaver.errors import Conflict, InvalidInput, NotAllowed, NotFound
from palaver.events import user_actor
from palaver.v1.auth_pb2 import (
    EMOJI,
    SOUND,
    ListMediaRequest,
    MediumKind,
    MediumRequest,
    PicturesRequest,
    SaveMediumRequest,
    SetAssetRequest,
)
from tests.auth.helpers import ADMIN, create_user, loaded


async def save(
    auth: Auth, kind: MediumKind.ValueType, medium_id: str = "", actor: Any = ADMIN, **changes: Any
) -> dict[str, Any]:
    request = SaveMediumRequest(actor=actor, kind=kind, medium_id=medium_id, set=orjson.dumps(changes))
    return loaded((await auth.save_medium(request)).medium)


async def names(auth: Auth, kind: MediumKind.ValueType, **fields: Any) -> list[str]:
    reply = await auth.list_media(ListMediaRequest(actor=ADMIN, kind=kind, **fields))
    return [loaded(document)["name"] for document in reply.documents]


async def test_names_and_aliases_are_found_taken_and_freed(auth: Auth) -> None:
    party = await save(auth, EMOJI, name="party", aliases=["fun", "party", "fun", " "])
    assert party["aliases"] == ["fun"]
    both = await asyncio.gather(
        *(save(auth, EMOJI, name=f"x{number}", aliases=["same"]) for number in range(5)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in both) == ["Conflict"] * 4 + ["dict"]
    with pytest.raises(Conflict):
        await save(auth, EMOJI, name="fun")
    await save(auth, SOUND, name="fun")  # sounds have names of their own
    assert await names(auth, EMOJI, filter=b'{"aliases": "fun"}') == ["party"]
    assert await names(auth, EMOJI, count=1, sort=b'[["name", -1]]') != ["party"]
    await auth.delete_medium(MediumRequest(actor=ADMIN, kind=EMOJI, medium_id=party["_id"]))
    assert "party" not in await names(auth, EMOJI)
    gone = await auth.list_media(ListMediaRequest(actor=ADMIN, kind=EMOJI, removed_since=0))
    assert [loaded(document)["_id"] for document in gone.documents] == [party["_id"]]
    await save(auth, EMOJI, name="fun", aliases=["party"])
    with pytest.raises(NotFound):
        await save(auth, EMOJI, party["_id"], name="again")
    with pytest.raises(NotFound):
        await auth.get_medium(MediumRequest(kind=EMOJI, medium_id=party["_id"]))


async def test_the_bytes_of_one_are_in_use_while_it_is_there(auth: Auth) -> None:
    party = await save(auth, EMOJI, name="party", file={"_id": "first", "type": "image/png"})
    await save(auth, EMOJI, party["_id"], file={"_id": "second", "type": "image/gif"})
    gong = await save(auth, SOUND, name="gong", file={"_id": "third", "type": "audio/mpeg"})
    asked = PicturesRequest(picture_ids=["first", "second", "third"])
    assert sorted((await auth.list_pictures_in_use(asked)).picture_ids) == ["second", "third"]
    found = loaded((await auth.get_medium(MediumRequest(kind=EMOJI, name="party"))).medium)
    assert found["file"] == {"_id": "second", "type": "image/gif"}
    await auth.delete_medium(MediumRequest(actor=ADMIN, kind=SOUND, medium_id=gong["_id"]))
    assert list((await auth.list_pictures_in_use(asked)).picture_ids) == ["second"]
    for file_id, used in (("first", ["second", "first"]), ("", ["second"])):
        await auth.set_asset(SetAssetRequest(actor=ADMIN, name="logo", file_id=file_id, extension="png"))
        assert list((await auth.list_pictures_in_use(asked)).picture_ids) == used


async def test_who_may_and_what_is_refused(auth: Auth) -> None:
    ann = user_actor((await create_user(auth, "ann"))["_id"])
    party = await save(auth, EMOJI, name="party")
    for name, file_id, extension in (("none", "x", "png"), ("SvgFavicon_Enable", "x", "png"), ("logo", "../x", "png")):
        with pytest.raises(InvalidInput):
            await auth.set_asset(SetAssetRequest(actor=ADMIN, name=name, file_id=file_id, extension=extension))
    with pytest.raises(NotAllowed):
        await auth.set_asset(SetAssetRequest(actor=ann, name="logo"))
    with pytest.raises(NotAllowed):
        await save(auth, EMOJI, actor=ann, name="mine")
    with pytest.raises(NotAllowed):
        await auth.delete_medium(MediumRequest(actor=ann, kind=EMOJI, medium_id=party["_id"]))
    assert (await auth.list_media(ListMediaRequest(actor=ann, kind=EMOJI))).total == 1
    wrong: list[dict[str, Any]] = [
        {},
        {"name": "a b"},
        {"name": 1},
        {"name": "x", "aliases": ["a:b"]},
        {"name": "x", "aliases": [str(number) for number in range(60)]},
        {"name": "x", "extension": "../.."},
        {"name": "x", "file": {"_id": "../x", "type": "image/png"}},
        {"name": "x", "file": {"_id": "x", "type": "text/html"}},
        {"name": "x", "file_id": "x"},
    ]
    for changes in wrong:
        with pytest.raises(InvalidInput):
            await save(auth, EMOJI, **changes)
    with pytest.raises(InvalidInput):
        await auth.list_media(ListMediaRequest(actor=ann, kind=EMOJI, filter=b'{"file_id": "x"}'))
