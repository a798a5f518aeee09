"""The auth service: who somebody is and what they may do. One policy for every way in.

`build` assembles it; each method of `api.Auth` delegates to the use case of its noun. Built by node.py, when this
process plays the role.
"""

from palaver.access import USERS_CHANGED
from palaver.auth.accounts import Accounts
from palaver.auth.authenticators import Authenticators
from palaver.auth.bootstrap import Bootstrap
from palaver.auth.defaults import Defaults
from palaver.auth.departures import Departures
from palaver.auth.feeds import Feeds
from palaver.auth.keys import Keys
from palaver.auth.letters import Letters
from palaver.auth.links import Links
from palaver.auth.logins import Logins
from palaver.auth.media import Media
from palaver.auth.passwords import Passwords
from palaver.auth.personal_tokens import PersonalTokens
from palaver.auth.policy import Policies
from palaver.auth.profiles import Profiles
from palaver.auth.roles import Roles
from palaver.auth.second_factor import SecondFactor
from palaver.auth.sessions import Sessions
from palaver.auth.settings_file import SettingsFile
from palaver.auth.statuses import Statuses
from palaver.auth.store import Store
from palaver.auth.tokens import Tokens
from palaver.auth.users import Users
from palaver.mail import Mail
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    AuthenticateReply,
    AuthenticateRequest,
    AuthenticatorRequest,
    BackupCodesReply,
    BeginAuthenticatorReply,
    CheckLoginReply,
    CheckLoginRequest,
    CheckSecondFactorRequest,
    CreateTokenRequest,
    CreateUserRequest,
    CustomStatusReply,
    CustomStatusRequest,
    DeactivateIdleReply,
    DeactivateIdleRequest,
    DeleteRoleRequest,
    DeleteUserRequest,
    DisableAuthenticatorReply,
    DocumentReply,
    DocumentsReply,
    Empty,
    EndSessionRequest,
    GetPolicyReply,
    GetPolicyRequest,
    GetSessionRequest,
    GetUserHeadsReply,
    GetUserHeadsRequest,
    GetUserRequest,
    GetUsersRequest,
    IssuePersonalTokenRequest,
    KeysReply,
    KeysRequest,
    ListCustomStatusesRequest,
    ListKeysReply,
    ListKeysRequest,
    ListMediaRequest,
    ListPersonalTokensRequest,
    ListSessionsRequest,
    ListUserEventsReply,
    ListUserEventsRequest,
    ListUsersRequest,
    LoginReply,
    LoginRequest,
    LogoutRequest,
    MediumReply,
    MediumRequest,
    PicturesReply,
    PicturesRequest,
    RegisterUserRequest,
    RemovePersonalTokenRequest,
    ResetKeysRequest,
    ResetPasswordRequest,
    RoleReply,
    SaveCustomStatusRequest,
    SaveMediumRequest,
    SaveRoleRequest,
    SendInvitationsRequest,
    SendLetterRequest,
    SendTakeoutLinkRequest,
    SendTestLetterReply,
    SessionReply,
    SetAssetRequest,
    SetEmailSecondFactorRequest,
    SetKeysRequest,
    SetUserActiveRequest,
    SetUserStatusRequest,
    TokenReply,
    UpdatePermissionsRequest,
    UpdateSettingRequest,
    UpdateUserRequest,
    UserCounts,
    UserReply,
    UserRoleRequest,
    VerifyEmailRequest,
)


def build(node: Node) -> "AuthService":
    """The service of this node; nothing happens before `open`."""
    store = Store(node.database)
    accounts = Accounts(node, store)
    passwords = Passwords()
    tokens = Tokens(node, store, accounts)
    defaults = Defaults(node.config)
    mail = Mail(lambda setting_id: node.access.setting(setting_id), node.config.smtp_tls)
    letters = Letters(node, mail)
    second_factor = SecondFactor(node, store, accounts, passwords, letters)
    policies = Policies(node, store, defaults, second_factor)
    bootstrap = Bootstrap(node, accounts, passwords, policies, defaults)
    logins = Logins(node, store, passwords, tokens, second_factor)
    links = Links(node, store, accounts, passwords, tokens, logins, letters)
    users = Users(node, store, accounts, passwords, bootstrap, links)
    return AuthService(
        node,
        passwords=passwords,
        tokens=tokens,
        bootstrap=bootstrap,
        users=users,
        profiles=Profiles(node, store, accounts, passwords, tokens, users, second_factor, letters),
        departures=Departures(node, store, accounts, tokens, second_factor),
        logins=logins,
        links=links,
        mail=mail,
        personal_tokens=PersonalTokens(node, store, tokens, second_factor),
        sessions=Sessions(node, store, tokens, second_factor),
        second_factor=second_factor,
        authenticators=Authenticators(node, store, accounts, tokens, second_factor),
        policies=policies,
        settings_file=SettingsFile(node, policies, defaults),
        roles=Roles(node, store, accounts, policies),
        statuses=Statuses(node, store),
        media=Media(node),
        keys=Keys(node, store, accounts, tokens),
        feeds=Feeds(node),
    )


class AuthService:
    """`api.Auth`, and the life of a service."""

    def __init__(
        self,
        node: Node,
        *,
        passwords: Passwords,
        tokens: Tokens,
        bootstrap: Bootstrap,
        users: Users,
        profiles: Profiles,
        departures: Departures,
        logins: Logins,
        links: Links,
        mail: Mail,
        personal_tokens: PersonalTokens,
        sessions: Sessions,
        second_factor: SecondFactor,
        authenticators: Authenticators,
        policies: Policies,
        settings_file: SettingsFile,
        roles: Roles,
        statuses: Statuses,
        media: Media,
        keys: Keys,
        feeds: Feeds,
    ) -> None:
        self._node = node
        self._passwords = passwords
        self._tokens = tokens
        self._bootstrap = bootstrap
        self._users = users
        self._profiles = profiles
        self._departures = departures
        self._logins = logins
        self._links = links
        self._mail = mail
        self._personal_tokens = personal_tokens
        self._sessions = sessions
        self._second_factor = second_factor
        self._authenticators = authenticators
        self._policies = policies
        self._settings_file = settings_file
        self._roles = roles
        self._statuses = statuses
        self._media = media
        self._keys = keys
        self._feeds = feeds

    async def open(self) -> None:
        """Makes what a new workspace lacks, and begins to hear of changed users."""
        await self._node.live.subscribe(USERS_CHANGED, self._tokens.on_user_changed)
        self._node.causality.on_user_changed(self._tokens.forget_user)
        self._node.log.on_gap(self._tokens.forget_all)
        await self._logins.open()
        await self._second_factor.open()
        await self._settings_file.open()
        await self._bootstrap.run()

    async def drain(self) -> None:
        """Every call is short, and the node's commits finish what they accepted."""

    async def close(self) -> None:
        await self._settings_file.close()
        self._passwords.close()
        self._mail.close()

    async def login(self, request: LoginRequest) -> LoginReply:
        return await self._logins.login(request)

    async def authenticate(self, request: AuthenticateRequest) -> AuthenticateReply:
        return await self._logins.authenticate(request)

    async def logout(self, request: LogoutRequest) -> Empty:
        return await self._logins.logout(request)

    async def check_login(self, request: CheckLoginRequest) -> CheckLoginReply:
        return await self._logins.check(request)

    async def check_second_factor(self, request: CheckSecondFactorRequest) -> Empty:
        return await self._second_factor.check(request)

    async def begin_authenticator(self, request: AuthenticatorRequest) -> BeginAuthenticatorReply:
        return await self._authenticators.begin(request)

    async def enable_authenticator(self, request: AuthenticatorRequest) -> BackupCodesReply:
        return await self._authenticators.enable(request)

    async def disable_authenticator(self, request: AuthenticatorRequest) -> DisableAuthenticatorReply:
        return await self._authenticators.disable(request)

    async def renew_backup_codes(self, request: AuthenticatorRequest) -> BackupCodesReply:
        return await self._authenticators.renew_codes(request)

    async def count_backup_codes(self, request: AuthenticatorRequest) -> BackupCodesReply:
        return await self._authenticators.count_codes(request)

    async def reset_authenticator(self, request: AuthenticatorRequest) -> Empty:
        return await self._authenticators.reset(request)

    async def set_email_second_factor(self, request: SetEmailSecondFactorRequest) -> Empty:
        return await self._second_factor.set_email(request)

    async def send_second_factor_code(self, request: SendLetterRequest) -> Empty:
        return await self._second_factor.send_code(request)

    async def send_password_link(self, request: SendLetterRequest) -> Empty:
        return await self._links.send_password_link(request)

    async def reset_password(self, request: ResetPasswordRequest) -> LoginReply:
        return await self._links.reset_password(request)

    async def send_confirmation(self, request: SendLetterRequest) -> Empty:
        return await self._links.send_confirmation(request)

    async def verify_email(self, request: VerifyEmailRequest) -> LoginReply:
        return await self._links.verify(request)

    async def send_welcome(self, request: SendLetterRequest) -> Empty:
        return await self._links.send_welcome(request)

    async def send_invitations(self, request: SendInvitationsRequest) -> Empty:
        return await self._links.send_invitations(request)

    async def send_test_letter(self, request: SendLetterRequest) -> SendTestLetterReply:
        return await self._links.send_test(request)

    async def send_takeout_link(self, request: SendTakeoutLinkRequest) -> Empty:
        return await self._links.send_takeout_link(request)

    async def list_sessions(self, request: ListSessionsRequest) -> DocumentsReply:
        return await self._sessions.list_some(request)

    async def get_session(self, request: GetSessionRequest) -> DocumentReply:
        return await self._sessions.get(request)

    async def end_session(self, request: EndSessionRequest) -> SessionReply:
        return await self._sessions.end(request)

    async def issue_personal_token(self, request: IssuePersonalTokenRequest) -> TokenReply:
        return await self._personal_tokens.issue(request)

    async def remove_personal_token(self, request: RemovePersonalTokenRequest) -> Empty:
        return await self._personal_tokens.remove(request)

    async def list_personal_tokens(self, request: ListPersonalTokensRequest) -> DocumentsReply:
        return await self._personal_tokens.list_own(request)

    async def create_token(self, request: CreateTokenRequest) -> TokenReply:
        return await self._logins.create_token(request)

    async def register_user(self, request: RegisterUserRequest) -> UserReply:
        return await self._users.register(request)

    async def create_user(self, request: CreateUserRequest) -> UserReply:
        return await self._users.create(request)

    async def update_user(self, request: UpdateUserRequest) -> UserReply:
        return await self._profiles.update(request)

    async def set_user_active(self, request: SetUserActiveRequest) -> UserReply:
        return await self._departures.set_active(request)

    async def delete_user(self, request: DeleteUserRequest) -> Empty:
        return await self._departures.delete(request)

    async def deactivate_idle(self, request: DeactivateIdleRequest) -> DeactivateIdleReply:
        return await self._departures.deactivate_idle(request)

    async def set_user_status(self, request: SetUserStatusRequest) -> UserReply:
        return await self._profiles.set_status(request)

    async def get_user(self, request: GetUserRequest) -> UserReply:
        return await self._users.get(request)

    async def list_users(self, request: ListUsersRequest) -> DocumentsReply:
        return await self._users.list_some(request)

    async def get_users(self, request: GetUsersRequest) -> DocumentsReply:
        return await self._users.get_many(request)

    async def count_users(self, request: Empty) -> UserCounts:
        return await self._users.count()

    async def set_keys(self, request: SetKeysRequest) -> Empty:
        return await self._keys.set(request)

    async def get_keys(self, request: KeysRequest) -> KeysReply:
        return await self._keys.get(request)

    async def list_public_keys(self, request: ListKeysRequest) -> ListKeysReply:
        return await self._keys.list_public(request)

    async def reset_keys(self, request: ResetKeysRequest) -> Empty:
        return await self._keys.reset(request)

    async def list_pictures_in_use(self, request: PicturesRequest) -> PicturesReply:
        return await self._users.list_pictures_in_use(request)

    async def get_user_heads(self, request: GetUserHeadsRequest) -> GetUserHeadsReply:
        return await self._feeds.get_heads(request)

    async def list_user_events(self, request: ListUserEventsRequest) -> ListUserEventsReply:
        return await self._feeds.list_events(request)

    async def get_policy(self, request: GetPolicyRequest) -> GetPolicyReply:
        return await self._policies.get(request)

    async def update_permissions(self, request: UpdatePermissionsRequest) -> DocumentsReply:
        return await self._policies.update_permissions(request)

    async def update_setting(self, request: UpdateSettingRequest) -> Empty:
        return await self._policies.update_setting(request)

    async def set_asset(self, request: SetAssetRequest) -> Empty:
        return await self._policies.set_asset(request)

    async def save_role(self, request: SaveRoleRequest) -> RoleReply:
        return await self._roles.save(request)

    async def delete_role(self, request: DeleteRoleRequest) -> Empty:
        return await self._roles.delete(request)

    async def save_custom_status(self, request: SaveCustomStatusRequest) -> CustomStatusReply:
        return await self._statuses.save(request)

    async def delete_custom_status(self, request: CustomStatusRequest) -> CustomStatusReply:
        return await self._statuses.delete(request)

    async def list_custom_statuses(self, request: ListCustomStatusesRequest) -> DocumentsReply:
        return await self._statuses.list_some(request)

    async def save_medium(self, request: SaveMediumRequest) -> MediumReply:
        return await self._media.save(request)

    async def delete_medium(self, request: MediumRequest) -> MediumReply:
        return await self._media.delete(request)

    async def get_medium(self, request: MediumRequest) -> MediumReply:
        return await self._media.get(request)

    async def list_media(self, request: ListMediaRequest) -> DocumentsReply:
        return await self._media.list_some(request)

    async def add_user_to_role(self, request: UserRoleRequest) -> RoleReply:
        return await self._roles.add_user(request)

    async def remove_user_from_role(self, request: UserRoleRequest) -> RoleReply:
        return await self._roles.remove_user(request)
