"""Public rooms. What the endpoints do is in `room_reading.py`, `room_members.py` and `room_changing.py`."""

from palaver.gateway.rest import integrations
from palaver.gateway.rest import room_changing as changing
from palaver.gateway.rest import room_files as files
from palaver.gateway.rest import room_members as members
from palaver.gateway.rest import room_reading as reading
from palaver.gateway.rest.endpoint import Page
from palaver.gateway.rest.room_faces import Face, OneRoom, PageOfOneRoom, PageOfRoom, WhichRoom

CHANNELS = Face(
    module=__name__,
    room_type="c",
    key="channel",
    list_key="channels",
    noun="channel",
    name_field="room_name",
    name_parameter="roomName",
    not_given=("error-roomid-param-not-provided", 'The parameter "roomId" or "roomName" is required'),
    not_found='The required "roomId" or "roomName" param provided does not match any channel',
)
_declare = CHANNELS.endpoint

create = _declare("POST", "channels.create", does=changing.create, body=changing.CreateBody, shows="channel")
info = _declare("GET", "channels.info", does=reading.info, query=WhichRoom, shows="channel")
list_visible = _declare("GET", "channels.list", does=reading.list_visible, query=Page, lists="channels")
list_joined = _declare("GET", "channels.list.joined", does=reading.list_joined, query=Page, lists="channels")
delete = _declare("POST", "channels.delete", does=changing.delete, body=OneRoom)

list_files = _declare("GET", "channels.files", does=files.list_files, query=files.FilesQuery, lists="files")
history = _declare("GET", "channels.history", does=reading.history, query=reading.StrictHistoryQuery)
messages = _declare("GET", "channels.messages", does=reading.list_messages, query=PageOfOneRoom, lists="messages")
read_anonymously = _declare(
    "GET", "channels.anonymousread", does=reading.read_anonymously, query=PageOfRoom, login="optional", lists="messages"
)

list_members = _declare(
    "GET", "channels.members", does=members.list_members, query=members.MembersQuery, lists="members"
)
list_online = _declare("GET", "channels.online", does=reading.list_online, query=reading.OnlineQuery)
counters = _declare("GET", "channels.counters", does=reading.counters, query=reading.CountersQuery)
list_roles = _declare("GET", "channels.roles", does=members.list_roles, query=OneRoom)
list_moderators = _declare("GET", "channels.moderators", does=members.list_moderators, query=members.ModeratorsQuery)

join = _declare("POST", "channels.join", does=members.join, body=members.JoinBody)
leave = _declare("POST", "channels.leave", does=members.leave, body=OneRoom)
invite = _declare("POST", "channels.invite", does=members.invite, body=members.InviteBody)
add_all = _declare("POST", "channels.addAll", does=members.add_all, body=members.StrictAddAllBody)
kick = _declare("POST", "channels.kick", does=members.kick, body=members.KickBody)
add_owner = _declare("POST", "channels.addOwner", does=members.add_owner, body=members.MemberBody)
remove_owner = _declare("POST", "channels.removeOwner", does=members.remove_owner, body=members.MemberBody)
add_moderator = _declare("POST", "channels.addModerator", does=members.add_moderator, body=members.MemberBody)
remove_moderator = _declare("POST", "channels.removeModerator", does=members.remove_moderator, body=members.MemberBody)
add_leader = _declare("POST", "channels.addLeader", does=members.add_leader, body=members.MemberBody)
remove_leader = _declare("POST", "channels.removeLeader", does=members.remove_leader, body=members.MemberBody)

rename = _declare("POST", "channels.rename", does=changing.rename, body=changing.NameBody, shows="channel")
set_topic = _declare("POST", "channels.setTopic", does=changing.set_topic, body=changing.TopicBody)
set_purpose = _declare("POST", "channels.setPurpose", does=changing.set_purpose, body=changing.PurposeBody)
set_description = _declare(
    "POST", "channels.setDescription", does=changing.set_description, body=changing.DescriptionBody
)
set_announcement = _declare(
    "POST", "channels.setAnnouncement", does=changing.set_announcement, body=changing.StrictAnnouncementBody
)
set_read_only = _declare("POST", "channels.setReadOnly", does=changing.set_read_only, body=changing.StrictReadOnlyBody)
set_type = _declare("POST", "channels.setType", does=changing.set_type, body=changing.TypeBody)
set_default = _declare("POST", "channels.setDefault", does=changing.set_default, body=changing.DefaultBody)
set_join_code = _declare("POST", "channels.setJoinCode", does=changing.set_join_code, body=changing.JoinCodeBody)
set_custom_fields = _declare(
    "POST", "channels.setCustomFields", does=changing.set_custom_fields, body=changing.CustomFieldsBody
)
archive = _declare("POST", "channels.archive", does=changing.archive, body=OneRoom)
unarchive = _declare("POST", "channels.unarchive", does=changing.unarchive, body=OneRoom)
hide = _declare("POST", "channels.close", does=changing.hide, body=WhichRoom)
show = _declare("POST", "channels.open", does=changing.show, body=changing.ShowBody)

list_integrations = _declare(
    "GET", "channels.getIntegrations", does=integrations.of_room, query=integrations.OfRoomQuery, lists="integrations"
)
