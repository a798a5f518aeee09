"""Private rooms. What the endpoints do is in `room_reading.py`, `room_members.py` and `room_changing.py`."""

from palaver.gateway.rest import integrations
from palaver.gateway.rest import room_changing as changing
from palaver.gateway.rest import room_files as files
from palaver.gateway.rest import room_members as members
from palaver.gateway.rest import room_reading as reading
from palaver.gateway.rest.endpoint import Page
from palaver.gateway.rest.room_faces import Face, PageOfRoom, WhichRoom

GROUPS = Face(
    module=__name__,
    room_type="p",
    key="group",
    list_key="groups",
    noun="private group",
    name_field="room_name",
    name_parameter="roomName",
    not_given=("error-room-param-not-provided", 'The parameter "roomId" or "roomName" is required'),
    not_found='The required "roomId" or "roomName" param provided does not match any group',
)
_declare = GROUPS.endpoint

create = _declare("POST", "groups.create", does=changing.create, body=changing.CreateBody, shows="group")
info = _declare("GET", "groups.info", does=reading.info, query=WhichRoom, shows="group")
list_joined = _declare("GET", "groups.list", does=reading.list_joined, query=Page, lists="groups")
list_every = _declare("GET", "groups.listAll", does=reading.list_every, query=Page, lists="groups")
delete = _declare("POST", "groups.delete", does=changing.delete, body=WhichRoom)

list_files = _declare("GET", "groups.files", does=files.list_files, query=files.FilesQuery, lists="files")
history = _declare("GET", "groups.history", does=reading.history, query=reading.HistoryQuery)
messages = _declare("GET", "groups.messages", does=reading.list_messages, query=PageOfRoom, lists="messages")

list_members = _declare("GET", "groups.members", does=members.list_members, query=members.MembersQuery, lists="members")
list_online = _declare("GET", "groups.online", does=reading.list_online, query=reading.OnlineQuery)
counters = _declare("GET", "groups.counters", does=reading.counters, query=reading.CountersQuery)
list_roles = _declare("GET", "groups.roles", does=members.list_roles, query=WhichRoom)
list_moderators = _declare("GET", "groups.moderators", does=members.list_moderators, query=WhichRoom)

leave = _declare("POST", "groups.leave", does=members.leave, body=WhichRoom)
invite = _declare("POST", "groups.invite", does=members.invite, body=members.InviteBody)
add_all = _declare("POST", "groups.addAll", does=members.add_all, body=members.AddAllBody)
kick = _declare("POST", "groups.kick", does=members.kick, body=members.MemberBody)
add_owner = _declare("POST", "groups.addOwner", does=members.add_owner, body=members.MemberBody)
remove_owner = _declare("POST", "groups.removeOwner", does=members.remove_owner, body=members.MemberBody)
add_moderator = _declare("POST", "groups.addModerator", does=members.add_moderator, body=members.MemberBody)
remove_moderator = _declare("POST", "groups.removeModerator", does=members.remove_moderator, body=members.MemberBody)
add_leader = _declare("POST", "groups.addLeader", does=members.add_leader, body=members.MemberBody)
remove_leader = _declare("POST", "groups.removeLeader", does=members.remove_leader, body=members.MemberBody)

rename = _declare("POST", "groups.rename", does=changing.rename, body=changing.NameBody, shows="group")
set_topic = _declare("POST", "groups.setTopic", does=changing.set_topic, body=changing.TopicBody)
set_purpose = _declare("POST", "groups.setPurpose", does=changing.set_purpose, body=changing.PurposeBody)
set_description = _declare(
    "POST", "groups.setDescription", does=changing.set_description, body=changing.DescriptionBody
)
set_announcement = _declare(
    "POST", "groups.setAnnouncement", does=changing.set_announcement, body=changing.AnnouncementBody
)
set_read_only = _declare("POST", "groups.setReadOnly", does=changing.set_read_only, body=changing.ReadOnlyBody)
set_type = _declare("POST", "groups.setType", does=changing.set_type, body=changing.TypeBody)
set_encrypted = _declare("POST", "groups.setEncrypted", does=changing.set_encrypted, body=changing.EncryptedBody)
set_custom_fields = _declare(
    "POST", "groups.setCustomFields", does=changing.set_custom_fields, body=changing.CustomFieldsBody
)
archive = _declare("POST", "groups.archive", does=changing.archive, body=WhichRoom)
unarchive = _declare("POST", "groups.unarchive", does=changing.unarchive, body=WhichRoom)
hide = _declare("POST", "groups.close", does=changing.hide, body=WhichRoom)
show = _declare("POST", "groups.open", does=changing.show, body=WhichRoom)

list_integrations = _declare(
    "GET", "groups.getIntegrations", does=integrations.of_room, query=integrations.OfRoomQuery, lists="integrations"
)
