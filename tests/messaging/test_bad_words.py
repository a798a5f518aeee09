"""Words that nobody shall read."""

from tests.messaging.helpers import Chat


async def test_bad_words_are_not_read(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    await chat.set_setting("Message_BadWordsFilterList", "darn, Größe,heck,")
    await chat.set_setting("Message_BadWordsWhitelist", "heck")
    text = "Darn it: DARN, darning, gröSSe and heck"
    sent = await chat.send(ann, room_id, text)
    assert sent["msg"] == text
    await chat.set_setting("Message_AllowBadWordsFilter", True)
    clean = "**** it: ****, darning, ****** and heck"
    edited = await chat.edit(ann, sent["_id"], f"{text}!")
    assert edited["msg"] == f"{clean}!"
    again = await chat.send(ann, room_id, text)
    assert again["msg"] == clean
    assert "Darn" not in str(again["md"])
    assert await chat.texts(ann, room_id) == [f"{clean}!", clean]
