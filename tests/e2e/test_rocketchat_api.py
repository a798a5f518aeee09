"""PyPI's `rocketchat-API`, the client that most scripts use, against one process and a cluster."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rocketchat_API.APIExceptions.RocketExceptions import RocketApiException, RocketAuthenticationException
from rocketchat_API.rocketchat import RocketChat

from tests.e2e.process import ADMIN, Reachable

Connect = Callable[[str, str], RocketChat]


@pytest.fixture(scope="module")
def connect(palaver: Reachable) -> Iterator[Connect]:
    """Logs in, unless the name is empty; every session is closed at the end."""
    clients: list[RocketChat] = []

    def login(user: str, password: str) -> RocketChat:
        clients.append(RocketChat(user, password, server_url=palaver.url))
        return clients[-1]

    yield login
    for client in clients:
        client.session.close()


@pytest.fixture(scope="module")
def boss(connect: Connect) -> RocketChat:
    return connect(ADMIN["user"], ADMIN["password"])


@pytest.fixture(scope="module")
def alice(boss: RocketChat, connect: Connect) -> RocketChat:
    return new_user(boss, connect, "alice")


@pytest.fixture(scope="module")
def bob(boss: RocketChat, connect: Connect) -> RocketChat:
    return new_user(boss, connect, "bob")


def new_user(boss: RocketChat, connect: Connect, name: str) -> RocketChat:
    boss.users_create(f"{name}@example.org", name.title(), f"password of {name}", name, verified=True)
    return connect(name, f"password of {name}")


def user_id(client: RocketChat) -> str:
    return str(client.headers["X-User-Id"])


def ask_for_a_moment(ask: Callable[[], Any]) -> None:
    """Asks until it raises, for as long as the news of a change may take from one process to all others."""
    for _ in range(100):
        ask()
        time.sleep(0.02)


def texts(messages: Any) -> list[str]:
    """Of what people wrote, without system messages."""
    return [message["msg"] for message in messages if "t" not in message]


# -- logins, users, policy ---------------------------------------------------------------------------------------------


def test_logins(palaver: Reachable, connect: Connect, boss: RocketChat) -> None:
    assert boss.info()["success"] is True
    assert boss.me()["username"] == "boss"
    by_mail = connect("boss@example.org", ADMIN["password"])
    assert by_mail.me()["_id"] == user_id(boss)
    with pytest.raises(RocketAuthenticationException):
        connect(ADMIN["user"], "wrong")
    assert by_mail.logout()["status"] == "success"
    with pytest.raises(Exception, match="401"):
        ask_for_a_moment(by_mail.me)
    boss.login(ADMIN["user"], ADMIN["password"])


def test_users(boss: RocketChat, connect: Connect) -> None:
    made = boss.users_create("carol@example.org", "Carol", "password of carol", "carol")["user"]
    assert boss.users_info(username="carol")["user"]["_id"] == made["_id"]
    assert boss.users_info(user_id=made["_id"])["user"]["name"] == "Carol"
    assert "carol" in [user["username"] for user in boss.users_list()]
    assert len(list(boss.users_list(count=1))) == len(list(boss.users_list()))
    boss.users_update(made["_id"], name="Caroline")
    assert boss.users_info(user_id=made["_id"])["user"]["name"] == "Caroline"
    assert boss.users_get_presence(user_id=made["_id"])["presence"] == "offline"
    carol = connect("carol", "password of carol")
    carol.users_set_status("thinking")
    carol.users_set_preferences(made["_id"], {"useEmojis": False})
    assert carol.users_get_preferences()["preferences"]["useEmojis"] is False
    boss.users_set_active_status(made["_id"], False)
    with pytest.raises(RocketAuthenticationException):
        connect("carol", "password of carol")
    with pytest.raises(RocketApiException):
        boss.users_register("dave@example.org", "Dave", "password of dave", "dave")
    nobody = connect("", "")
    nobody.users_register("dave@example.org", "Dave", "password of dave", "dave")
    connect("dave", "password of dave")


def test_permissions_roles_and_settings(boss: RocketChat, alice: RocketChat) -> None:
    permissions = {permission["_id"]: permission for permission in boss.permissions_list_all()["update"]}
    assert "user" in permissions["create-c"]["roles"]
    boss.permissions_update([{"_id": "create-c", "roles": ["admin"]}])
    with pytest.raises(RocketApiException) as refused:
        alice.channels_create("forbidden")
    assert refused.value.status_code == 403
    boss.permissions_update([{"_id": "create-c", "roles": permissions["create-c"]["roles"]}])
    alice.channels_create("allowed")
    assert {"admin", "user"} <= {role["_id"] for role in boss.roles_list()["roles"]}
    role = boss.roles_create("tester", scope="Users", description="tests")["role"]
    boss.roles_add_user_to_role(role["_id"], "alice")
    assert [user["username"] for user in boss.roles_get_users_in_role(role["_id"])] == ["alice"]
    boss.roles_remove_user_from_role(role["_id"], "alice")
    boss.roles_delete(role["_id"])
    assert boss.settings_get("Message_MaxAllowedSize")["value"] == 5000
    boss.settings_update("Message_MaxAllowedSize", 4000)
    assert boss.settings_get("Message_MaxAllowedSize")["value"] == 4000
    assert "Site_Url" in {setting["_id"] for setting in alice.settings_public()}
    assert boss.service_configurations()["success"] is True


# -- rooms -------------------------------------------------------------------------------------------------------------


def test_channels(boss: RocketChat, alice: RocketChat, bob: RocketChat) -> None:
    room = alice.channels_create("square", members=["boss"])["channel"]
    room_id = room["_id"]
    assert alice.channels_info(channel="square")["channel"]["_id"] == room_id
    assert "square" in [channel["name"] for channel in bob.channels_list()]
    assert "square" in [channel["name"] for channel in alice.channels_list_joined(count=1)]
    bob.channels_join(room_id, "")
    assert {member["username"] for member in alice.channels_members(room_id)} == {"alice", "bob", "boss"}
    assert {member["username"] for member in alice.channels_members(channel="square", count=1)} >= {"alice", "bob"}
    alice.channels_add_moderator(room_id, user_id(bob))
    assert [user["username"] for user in alice.channels_moderators(room_id)["moderators"]] == ["bob"]
    alice.channels_remove_moderator(room_id, user_id(bob))
    alice.channels_add_owner(room_id, username="bob")
    assert len(alice.channels_roles(room_id)["roles"]) == 2
    alice.channels_remove_owner(room_id, user_id(bob))
    alice.channels_add_leader(room_id, user_id(bob))
    alice.channels_remove_leader(room_id, user_id(bob))
    alice.channels_kick(room_id, user_id(bob))
    alice.channels_invite(room_id, user_id(bob))
    assert bob.channels_leave(room_id)["channel"]["usersCount"] == 2
    assert boss.channels_add_all(room_id)["channel"]["usersCount"] > 2
    assert alice.channels_counters(room_name="square")["joined"] is True
    assert alice.channels_online(room_id)["online"] == []


def test_channels_change(boss: RocketChat, alice: RocketChat) -> None:
    room_id = alice.channels_create("clay", members=["boss"])["channel"]["_id"]
    assert alice.channels_rename(room_id, "brick")["channel"]["name"] == "brick"
    assert alice.channels_set_topic(room_id, "fire")["topic"] == "fire"
    assert alice.channels_set_description(room_id, "red")["description"] == "red"
    assert alice.channels_set_announcement(room_id, "hot")["announcement"] == "hot"
    assert alice.channels_set_read_only(room_id, True)["channel"]["ro"] is True
    assert alice.channels_set_join_code(room_id, "1234")["channel"]["joinCodeRequired"] is True
    assert alice.channels_set_custom_fields(room_id, {"k": "v"})["channel"]["customFields"] == {"k": "v"}
    assert boss.channels_set_default(room_id, True)["channel"]["default"] is True
    assert boss.channels_set_default(room_id, False)["channel"]["default"] is False
    alice.channels_close(room_id)
    alice.channels_open(room_id)
    alice.channels_archive(room_id)
    boss.channels_unarchive(room_id)
    assert alice.channels_set_type(room_id, "p")["channel"]["t"] == "p"
    alice.groups_delete(room_id)
    with pytest.raises(RocketApiException) as gone:
        alice.channels_info(room_id)
    assert gone.value.status_code == 400


def test_groups(boss: RocketChat, alice: RocketChat, bob: RocketChat) -> None:
    room_id = alice.groups_create("cellar", members=["boss"])["group"]["_id"]
    assert alice.groups_info(room_name="cellar")["group"]["_id"] == room_id
    assert "cellar" in [group["name"] for group in boss.groups_list_all()]
    assert "cellar" in [group["name"] for group in alice.groups_list()]
    with pytest.raises(RocketApiException):
        bob.groups_info(room_id)
    alice.groups_invite(room_id, user_id(bob))
    assert "bob" in {member["username"] for member in alice.groups_members(group="cellar")}
    alice.groups_add_moderator(room_id, user_id(bob))
    assert [user["username"] for user in alice.groups_moderators(group="cellar")["moderators"]] == ["bob"]
    alice.groups_remove_moderator(room_id, user_id(bob))
    alice.groups_add_owner(room_id, user_id(bob))
    assert len(alice.groups_roles(room_name="cellar")["roles"]) == 2
    alice.groups_remove_owner(room_id, user_id(bob))
    alice.groups_add_leader(room_id, user_id(bob))
    alice.groups_remove_leader(room_id, user_id(bob))
    alice.groups_kick(room_id, user_id(bob))
    assert alice.groups_rename(room_id, "vault")["group"]["name"] == "vault"
    assert alice.groups_set_topic(room_id, "gold")["topic"] == "gold"
    assert alice.groups_set_description(room_id, "deep")["description"] == "deep"
    assert alice.groups_set_announcement(room_id, "shut")["announcement"] == "shut"
    assert alice.groups_set_read_only(room_id, True)["group"]["ro"] is True
    with pytest.raises(RocketApiException):
        alice.groups_set_encrypted(room_id, True)
    boss.settings_update("E2E_Enable", True)
    assert alice.groups_set_encrypted(room_id, True)["group"]["encrypted"] is True
    assert alice.groups_set_custom_fields({"k": 1}, room_id=room_id)["group"]["customFields"] == {"k": 1}
    assert alice.groups_online(room_id)["online"] == []
    alice.groups_close(room_id)
    alice.groups_open(room_id)
    alice.groups_archive(room_id)
    boss.groups_unarchive(room_id)
    boss.groups_leave(room_id)
    assert alice.groups_set_type(room_id, "c")["group"]["t"] == "c"
    alice.channels_delete(room_id)


def test_direct_rooms(boss: RocketChat, alice: RocketChat, bob: RocketChat) -> None:
    room_id = alice.dm_create("bob")["room"]["_id"]
    alice.chat_post_message("psst", channel="@bob")
    assert texts(bob.dm_history(room_id)) == ["psst"]
    assert texts(bob.dm_messages(username="alice")) == ["psst"]
    assert room_id in [room["_id"] for room in bob.dm_list()]
    assert room_id in [room["_id"] for room in boss.dm_list_everyone()]
    assert [member["username"] for member in bob.dm_members(room_id)] == ["alice", "bob"]
    assert bob.dm_counters(room_id)["unreads"] == 1
    bob.dm_close(room_id)
    bob.dm_open(room_id)
    several = alice.dm_create_multiple(["bob", "boss"])["room"]
    assert set(several["usernames"]) == {"alice", "bob", "boss"}
    own = boss.dm_create("alice")["room"]["_id"]
    assert boss.dm_set_topic(own, "work")["topic"] == "work"
    boss.dm_delete(own)


def test_rooms_and_subscriptions(boss: RocketChat, alice: RocketChat, bob: RocketChat) -> None:
    room_id = alice.channels_create("shelf", members=["bob"])["channel"]["_id"]
    assert room_id in [room["_id"] for room in alice.rooms_get()["update"]]
    assert alice.rooms_get(updatedSince="2100-01-01T00:00:00.000Z")["update"] == []
    assert alice.rooms_info(room_name="shelf")["room"]["_id"] == room_id
    alice.rooms_favorite(room_id=room_id)
    alice.rooms_favorite(room_name="shelf", favorite=False)
    assert "shelf" in [room.get("name") for room in boss.rooms_admin_rooms()]
    message = alice.chat_post_message("@bob look", room_id=room_id)["message"]
    assert bob.subscriptions_get_one(room_id)["subscription"]["unread"] == 1
    bob.subscriptions_read(room_id)
    assert bob.subscriptions_get_one(room_id)["subscription"]["unread"] == 0
    bob.subscriptions_unread(room_id)
    assert room_id in [subscription["rid"] for subscription in bob.subscriptions_get()["update"]]
    bob.chat_ignore_user(room_id, user_id(alice))
    bob.rooms_leave(room_id)
    assert message["rid"] == room_id


# -- messages ----------------------------------------------------------------------------------------------------------


def test_messages(alice: RocketChat, bob: RocketChat) -> None:
    room_id = alice.channels_create("desk", members=["bob"])["channel"]["_id"]
    posted = alice.chat_post_message("first", room_id=room_id)
    assert isinstance(posted["ts"], int)
    sent = alice.chat_send_message({"rid": room_id, "msg": "second", "_id": "my-own-id"})["message"]
    assert sent["_id"] == "my-own-id"
    named = alice.chat_post_message("third", channel="#desk", attachments=[{"text": "more", "color": "#00ff00"}])
    assert named["message"]["attachments"][0]["text"] == "more"
    assert texts(bob.channels_history(room_id)) == ["third", "second", "first"]
    assert texts(bob.channels_history(room_id, count=1)) == ["third", "second", "first"]
    assert texts(bob.channels_history(room_id, count=2, max_count=2)) == ["third", "second"]
    assert alice.chat_get_message("my-own-id")["message"]["msg"] == "second"
    assert alice.chat_update(room_id, "my-own-id", "changed")["message"]["msg"] == "changed"
    bob.chat_react("my-own-id", "thumbsup")
    assert alice.chat_get_message("my-own-id")["message"]["reactions"] == {":thumbsup:": {"usernames": ["bob"]}}
    assert texts(alice.chat_search(room_id, "chang")) == ["changed"]
    since = posted["message"]["ts"]
    synced = bob.chat_sync_messages(room_id, since)["result"]
    assert texts(synced["updated"]) == ["third", "changed"]
    alice.chat_delete(room_id, "my-own-id")
    assert [gone["_id"] for gone in bob.chat_get_deleted_messages(room_id, since)] == ["my-own-id"]
    with pytest.raises(RocketApiException):
        bob.chat_update(room_id, posted["message"]["_id"], "not mine")


def test_threads(alice: RocketChat, bob: RocketChat) -> None:
    room_id = alice.channels_create("spool", members=["bob"])["channel"]["_id"]
    root = alice.chat_post_message("root", room_id=room_id)["message"]
    for number in range(3):
        bob.chat_post_message(f"reply {number}", room_id=room_id, tmid=root["_id"])
    assert [thread["tcount"] for thread in alice.chat_get_threads_list(room_id)] == [3]
    replies = list(alice.chat_get_thread_messages(root["_id"], count=2))
    assert texts(replies) == ["reply 0", "reply 1", "reply 2"]
    changed = alice.chat_sync_thread_messages(root["_id"], replies[0]["ts"])
    assert texts(changed["messages"]["update"]) == ["reply 2", "reply 1"]
    assert alice.chat_sync_thread_list(room_id, root["ts"])["threads"]["update"][0]["_id"] == root["_id"]
    bob.chat_unfollow_message(root["_id"])
    bob.chat_follow_message(root["_id"])


def test_finding(alice: RocketChat) -> None:
    alice.channels_create("needle")
    found = alice.spotlight("needle")
    assert [room["name"] for room in found["rooms"]] == ["needle"]
    assert [room["name"] for room in alice.directory({"text": "needle", "type": "channels"})] == ["needle"]
    assert [user["username"] for user in alice.directory({"text": "boss", "type": "users"})] == ["boss"]
