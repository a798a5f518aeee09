"""The messaging service's API and its assembly; every method delegates to a use case."""

import asyncio
from typing import Any

from palaver.mail import Mail
from palaver.messaging.answering import Answering
from palaver.messaging.changes import Changes
from palaver.messaging.departures import Departures
from palaver.messaging.direct import DirectRooms
from palaver.messaging.discussions import Discussions
from palaver.messaging.erasure import Erasure
from palaver.messaging.exports import Exports
from palaver.messaging.general import General
from palaver.messaging.history import History
from palaver.messaging.integrations.catalogue import Catalogue
from palaver.messaging.integrations.deliveries import Deliveries, WebhookHistory
from palaver.messaging.integrations.incoming import Incoming, Posting
from palaver.messaging.integrations.outgoing import Outgoing
from palaver.messaging.integrations.sending import Sender
from palaver.messaging.invites import Invites
from palaver.messaging.keys import Keys
from palaver.messaging.listing import Listing
from palaver.messaging.lists import Lists
from palaver.messaging.marks import Marks
from palaver.messaging.members import Members
from palaver.messaging.messages import Messages
from palaver.messaging.names import Names
from palaver.messaging.notices import Notices
from palaver.messaging.off_the_record import OffTheRecord
from palaver.messaging.previews.fetching import Previews
from palaver.messaging.previews.links import LinkPreviews
from palaver.messaging.pruning import Pruning
from palaver.messaging.quotes import Quotes
from palaver.messaging.reactions import Reactions
from palaver.messaging.reads import Reads
from palaver.messaging.receipts import Receipts
from palaver.messaging.renames import Renames
from palaver.messaging.reports import Reports
from palaver.messaging.retention import Retention
from palaver.messaging.revisions import Revisions
from palaver.messaging.rooms import Rooms
from palaver.messaging.search import Search
from palaver.messaging.statistics import Statistics
from palaver.messaging.store import Store
from palaver.messaging.takeouts import Takeouts
from palaver.messaging.teams.service import TeamService, TeamUseCases
from palaver.messaging.threads import Threads
from palaver.messaging.uploads import Uploads
from palaver.messaging.views import Views
from palaver.node import Node
from palaver.v1 import auth_pb2 as auth
from palaver.v1 import integration_pb2 as integration
from palaver.v1 import messaging_pb2 as api


def build(node: Node) -> "MessagingService":
    """The service of this node; nothing happens before `open`."""
    return MessagingService(node)


class MessagingService(TeamService):
    """`api.Messaging`, and the life of a service."""

    def __init__(self, node: Node) -> None:
        self._node = node
        store = Store(node.database)
        views = Views(node, store)
        names = Names(node)
        notices = Notices(node)
        self._rooms = Rooms(node, store, views, names)
        self._changes = Changes(node, views, self._rooms, names, notices)
        self._members = Members(node, store, views, self._rooms, notices)
        self._general = General(self._rooms, self._members)
        self._invites = Invites(node, store, views, self._rooms, self._members)
        self._teams = TeamUseCases(node, store, views, self._rooms, self._changes, self._members, names, notices)
        quotes = Quotes(node, views)
        self._messages = Messages(node, store, views, quotes)
        self._receipts = Receipts(node, store, self._messages)
        self._reads = Reads(node, store, views, self._receipts)
        self._direct = DirectRooms(node, views, self._rooms, self._reads)
        self._uploads = Uploads(node, store, views, self._messages)
        self._mail = Mail(lambda setting_id: node.access.setting(setting_id), node.config.smtp_tls)
        self._exports = Exports(node, store, views, self._uploads, self._messages, self._direct, self._mail)
        self._discussions = Discussions(node, store, views, self._rooms, self._messages, notices)
        self._revisions = Revisions(node, views, self._messages, quotes)
        self._reports = Reports(node, store, views, self._messages, self._revisions)
        self._pruning = Pruning(node, views)
        self._retention = Retention(node, self._pruning)
        self._reactions = Reactions(node, views)
        self._marks = Marks(node, store, views, self._messages, notices)
        self._off_the_record = OffTheRecord(node, views, notices)
        self._threads = Threads(node, store, views)
        self._history = History(store, views)
        self._lists = Lists(node, store, views)
        self._listing = Listing(node, views)
        self._search = Search(node, store, views)
        deliveries = Deliveries(node.database)
        self._catalogue = Catalogue(node, store, deliveries.clear)
        self._webhook_history = WebhookHistory(node, self._catalogue, deliveries)
        posting = Posting(store, self._messages, self._members, self._direct)
        self._incoming = Incoming(node, posting)
        self._statistics = Statistics(node)
        self._keys = Keys(node, store, views)
        self._previews = Previews(node, views)
        self._link_previews = LinkPreviews(node, self._previews)
        self._webhook_sender = Sender(node, deliveries, posting)
        self._takeouts = Takeouts(node, store)
        self._departures = Departures(node, store, self._rooms, notices, Erasure(node, store))
        self._followers = {
            "follower of webhooks": Outgoing(node, deliveries).make_follower(),
            "follower of names": Renames(node, store).make_follower(),
            "follower of departures": self._departures.make_follower(),
            "follower of discussions": self._discussions.make_follower(),
            "follower of links": self._link_previews.make_follower(),
            "follower of teams": self._teams.follower,
        }
        self._answering = Answering()
        self._answer = self._answering.answer

    async def open(self) -> None:
        """Sees to it that GENERAL exists, with everybody of this moment in it, and that what follows events does."""
        self._node.spawn(self._uploads.run_cleaning(), "uploads")
        await self._general.create()
        workers: dict[str, Any] = {"webhooks": self._webhook_sender, "retention": self._retention, **self._followers}
        workers |= {"exports": self._exports, "takeouts": self._takeouts, "previews of links": self._link_previews}
        for name, worker in workers.items():
            self._node.spawn(worker.run(), name)

    async def drain(self) -> None:
        """Refuses new calls, and returns when those that run are answered and others follow in its place."""
        self._answering.refuse()
        await self._webhook_sender.stop()
        await asyncio.gather(*(follower.stop() for follower in self._followers.values()))
        await self._answering.finish()

    async def close(self) -> None:
        self._mail.close()

    async def create_room(self, request: api.CreateRoomRequest) -> api.RoomReply:
        return await self._answer("create_room", request, self._rooms.create)

    async def open_direct_room(self, request: api.OpenDirectRoomRequest) -> api.RoomReply:
        return await self._answer("open_direct_room", request, self._direct.open)

    async def create_discussion(self, request: api.CreateDiscussionRequest) -> api.RoomReply:
        return await self._answer("create_discussion", request, self._discussions.create)

    async def update_room(self, request: api.UpdateRoomRequest) -> api.RoomReply:
        return await self._answer("update_room", request, self._changes.update)

    async def delete_room(self, request: api.RoomRequest) -> auth.Empty:
        return await self._answer("delete_room", request, self._rooms.delete)

    async def get_room(self, request: api.GetRoomRequest) -> api.RoomReply:
        return await self._answer("get_room", request, self._rooms.get)

    async def list_rooms(self, request: api.ListRoomsRequest) -> api.ListRoomsReply:
        return await self._answer("list_rooms", request, self._lists.list_rooms)

    async def join_room(self, request: api.JoinRoomRequest) -> api.RoomReply:
        return await self._answer("join_room", request, self._members.join)

    async def join_default_rooms(self, request: api.JoinDefaultRoomsRequest) -> auth.Empty:
        return await self._answer("join_default_rooms", request, self._members.join_default)

    async def leave_room(self, request: api.RoomRequest) -> api.RoomReply:
        return await self._answer("leave_room", request, self._members.leave)

    async def invite_members(self, request: api.MembersRequest) -> api.RoomReply:
        return await self._answer("invite_members", request, self._members.invite)

    async def remove_member(self, request: api.MembersRequest) -> api.RoomReply:
        return await self._answer("remove_member", request, self._members.remove)

    async def set_member_role(self, request: api.SetMemberRoleRequest) -> auth.Empty:
        return await self._answer("set_member_role", request, self._members.set_role)

    async def check_relinquish(self, request: api.CheckRelinquishRequest) -> auth.Empty:
        return await self._answer("check_relinquish", request, self._departures.check)

    async def find_or_create_invite(self, request: api.FindOrCreateInviteRequest) -> api.InviteReply:
        return await self._answer("find_or_create_invite", request, self._invites.find_or_create)

    async def list_invites(self, request: api.ListInvitesRequest) -> auth.DocumentsReply:
        return await self._answer("list_invites", request, self._invites.list_all)

    async def remove_invite(self, request: api.InviteRequest) -> auth.Empty:
        return await self._answer("remove_invite", request, self._invites.remove)

    async def use_invite(self, request: api.InviteRequest) -> api.RoomReply:
        return await self._answer("use_invite", request, self._invites.use)

    async def check_invite(self, request: api.InviteRequest) -> auth.Empty:
        return await self._answer("check_invite", request, self._invites.check)

    async def list_members(self, request: api.ListMembersRequest) -> auth.DocumentsReply:
        return await self._answer("list_members", request, self._listing.list_members)

    async def get_subscription(self, request: api.RoomRequest) -> api.SubscriptionReply:
        return await self._answer("get_subscription", request, self._reads.get_subscription)

    async def list_subscriptions(self, request: api.ListSubscriptionsRequest) -> api.ListSubscriptionsReply:
        return await self._answer("list_subscriptions", request, self._lists.list_subscriptions)

    async def set_subscription(self, request: api.SetSubscriptionRequest) -> auth.Empty:
        return await self._answer("set_subscription", request, self._reads.set_subscription)

    async def mark_read(self, request: api.MarkReadRequest) -> auth.Empty:
        return await self._answer("mark_read", request, self._reads.mark_read)

    async def mark_unread(self, request: api.MarkUnreadRequest) -> auth.Empty:
        return await self._answer("mark_unread", request, self._reads.mark_unread)

    async def get_counters(self, request: api.GetCountersRequest) -> api.CountersReply:
        return await self._answer("get_counters", request, self._lists.get_counters)

    async def send_message(self, request: api.SendMessageRequest) -> api.MessageReply:
        return await self._answer("send_message", request, self._messages.send)

    async def get_statistics(self, request: api.GetStatisticsRequest) -> api.StatisticsReply:
        return await self._answer("get_statistics", request, self._statistics.get)

    async def list_statistics(self, request: api.ListStatisticsRequest) -> auth.DocumentsReply:
        return await self._answer("list_statistics", request, self._statistics.list_some)

    async def set_room_key(self, request: api.SetRoomKeyRequest) -> auth.Empty:
        return await self._answer("set_room_key", request, self._keys.set_room_key)

    async def suggest_keys(self, request: api.SuggestKeysRequest) -> auth.Empty:
        return await self._answer("suggest_keys", request, self._keys.suggest)

    async def answer_key(self, request: api.AnswerKeyRequest) -> auth.Empty:
        return await self._answer("answer_key", request, self._keys.answer)

    async def list_keyless(self, request: api.KeylessRequest) -> api.KeylessReply:
        return await self._answer("list_keyless", request, self._keys.list_keyless)

    async def list_missing_keys(self, request: api.ActorRequest) -> api.RoomKeysReply:
        return await self._answer("list_missing_keys", request, self._keys.list_missing)

    async def reset_member_keys(self, request: api.ResetMemberKeysRequest) -> auth.Empty:
        return await self._answer("reset_member_keys", request, self._keys.reset)

    async def check_upload(self, request: api.UploadRequest) -> auth.Empty:
        return await self._answer("check_upload", request, self._uploads.check)

    async def add_upload(self, request: api.UploadRequest) -> api.UploadReply:
        return await self._answer("add_upload", request, self._uploads.add)

    async def get_upload(self, request: api.GetUploadRequest) -> api.UploadReply:
        return await self._answer("get_upload", request, self._uploads.get)

    async def export_room(self, request: api.ExportRoomRequest) -> api.ExportRoomReply:
        return await self._answer("export_room", request, self._exports.ask)

    async def list_uploads(self, request: api.ListUploadsRequest) -> auth.DocumentsReply:
        return await self._answer("list_uploads", request, self._uploads.list_some)

    async def edit_message(self, request: api.EditMessageRequest) -> api.MessageReply:
        return await self._answer("edit_message", request, self._revisions.edit)

    async def delete_message(self, request: api.DeleteMessageRequest) -> api.MessageReply:
        return await self._answer("delete_message", request, self._revisions.delete)

    async def prune_messages(self, request: api.PruneMessagesRequest) -> api.PruneMessagesReply:
        return await self._answer("prune_messages", request, self._pruning.prune)

    async def react(self, request: api.ReactRequest) -> api.MessageReply:
        return await self._answer("react", request, self._reactions.react)

    async def follow_thread(self, request: api.FollowThreadRequest) -> auth.Empty:
        return await self._answer("follow_thread", request, self._threads.follow)

    async def get_message(self, request: api.MessageRequest) -> api.MessageReply:
        return await self._answer("get_message", request, self._messages.get)

    async def list_messages(self, request: api.ListMessagesRequest) -> api.ListMessagesReply:
        return await self._answer("list_messages", request, self._history.list_messages)

    async def list_threads(self, request: api.ListThreadsRequest) -> auth.DocumentsReply:
        return await self._answer("list_threads", request, self._threads.list_threads)

    async def list_discussions(self, request: api.ListDiscussionsRequest) -> auth.DocumentsReply:
        return await self._answer("list_discussions", request, self._discussions.list_messages)

    async def get_messages(self, request: api.GetMessagesRequest) -> auth.DocumentsReply:
        return await self._answer("get_messages", request, self._messages.get_many)

    async def tell_off_the_record(self, request: api.TellOffTheRecordRequest) -> auth.Empty:
        return await self._answer("tell_off_the_record", request, self._off_the_record.tell)

    async def pin_message(self, request: api.PinMessageRequest) -> api.MessageReply:
        return await self._answer("pin_message", request, self._marks.pin)

    async def star_message(self, request: api.StarMessageRequest) -> auth.Empty:
        return await self._answer("star_message", request, self._marks.star)

    async def list_marked_messages(self, request: api.ListMarkedMessagesRequest) -> auth.DocumentsReply:
        return await self._answer("list_marked_messages", request, self._marks.list_marked)

    async def list_read_receipts(self, request: api.MessageRequest) -> auth.DocumentsReply:
        return await self._answer("list_read_receipts", request, self._receipts.list_receipts)

    async def report(self, request: api.ReportRequest) -> auth.Empty:
        return await self._answer("report", request, self._reports.report)

    async def get_report(self, request: api.GetReportRequest) -> api.ReportReply:
        return await self._answer("get_report", request, self._reports.get)

    async def list_reports(self, request: api.ListReportsRequest) -> auth.DocumentsReply:
        return await self._answer("list_reports", request, self._reports.list_reports)

    async def list_reported(self, request: api.ListReportedRequest) -> auth.DocumentsReply:
        return await self._answer("list_reported", request, self._reports.list_reported)

    async def close_reports(self, request: api.CloseReportsRequest) -> auth.Empty:
        return await self._answer("close_reports", request, self._reports.close)

    async def search_messages(self, request: api.SearchMessagesRequest) -> auth.DocumentsReply:
        return await self._answer("search_messages", request, self._search.search_messages)

    async def spotlight(self, request: api.SpotlightRequest) -> api.SpotlightReply:
        return await self._answer("spotlight", request, self._search.spotlight)

    async def save_integration(self, request: integration.SaveIntegrationRequest) -> integration.IntegrationReply:
        return await self._answer("save_integration", request, self._catalogue.save)

    async def get_integration(self, request: integration.IntegrationRequest) -> integration.IntegrationReply:
        return await self._answer("get_integration", request, self._catalogue.get)

    async def list_integrations(self, request: integration.ListIntegrationsRequest) -> auth.DocumentsReply:
        return await self._answer("list_integrations", request, self._catalogue.list_integrations)

    async def remove_integration(self, request: integration.IntegrationRequest) -> integration.IntegrationReply:
        return await self._answer("remove_integration", request, self._catalogue.remove)

    async def post_by_webhook(self, request: integration.PostByWebhookRequest) -> auth.Empty:
        return await self._answer("post_by_webhook", request, self._incoming.post)

    async def list_deliveries(self, request: integration.ListDeliveriesRequest) -> auth.DocumentsReply:
        return await self._answer("list_deliveries", request, self._webhook_history.list_deliveries)

    async def clear_deliveries(self, request: integration.IntegrationRequest) -> auth.Empty:
        return await self._answer("clear_deliveries", request, self._webhook_history.clear)

    async def replay_delivery(self, request: integration.DeliveryRequest) -> auth.Empty:
        return await self._answer("replay_delivery", request, self._webhook_history.replay)

    async def preview_url(self, request: integration.PreviewUrlRequest) -> integration.PreviewUrlReply:
        return await self._answer("preview_url", request, self._previews.preview)

    async def request_takeout(self, request: api.RequestTakeoutRequest) -> api.TakeoutReply:
        return await self._answer("request_takeout", request, self._takeouts.request)

    async def get_takeout(self, request: api.GetTakeoutRequest) -> api.TakeoutReply:
        return await self._answer("get_takeout", request, self._takeouts.get)

    async def check_access(self, request: api.CheckAccessRequest) -> api.CheckAccessReply:
        return await self._answer("check_access", request, self._lists.check_access)

    async def list_hearing(self, request: api.ListHearingRequest) -> api.ListHearingReply:
        return await self._lists.list_hearing(request)

    async def list_joins(self, request: api.ListJoinsRequest) -> api.ListJoinsReply:
        return await self._lists.list_joins(request)

    async def list_memberships(self, request: api.ListMembershipsRequest) -> api.ListMembershipsReply:
        return await self._lists.list_memberships(request)

    async def list_room_events(self, request: api.ListRoomEventsRequest) -> api.ListRoomEventsReply:
        return await self._lists.list_room_events(request)

    async def get_room_heads(self, request: api.GetRoomHeadsRequest) -> api.GetRoomHeadsReply:
        return await self._lists.get_room_heads(request)
