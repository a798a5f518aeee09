"""Use cases: logging in and out, and recognizing a token. One way in for every surface. Called by role.py."""

from collections.abc import Awaitable, Callable

import orjson
from prometheus_client import Counter

from palaver.account_names import fold
from palaver.auth import rules
from palaver.auth.attempts import Attempts
from palaver.auth.passwords import Passwords, stored_hash
from palaver.auth.second_factor import SecondFactor
from palaver.auth.store import Store
from palaver.auth.tokens import EXPIRED, LOGGED_OUT, Tokens, is_personal
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.documents import own_user
from palaver.errors import (
    InvalidInput,
    LoginFailed,
    LoginRequired,
    NotAllowed,
    PalaverError,
    UserNotFound,
    WrongCredentials,
)
from palaver.events import user_actor
from palaver.ids import new_id
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    AuthenticateReply,
    AuthenticateRequest,
    CheckLoginReply,
    CheckLoginRequest,
    CreateTokenRequest,
    Empty,
    LoginReply,
    LoginRequest,
    LogoutRequest,
    ResetPasswordRequest,
    TokenReply,
    VerifyEmailRequest,
)

LOGINS = Counter("palaver_logins_attempted_total", "Attempts to log in", ["type", "outcome"])

_DEFAULT_DAYS = 90
_MAX_DAYS = 3650
_MAX_ABOUT = 500


class Logins:
    """Logs users in and out."""

    def __init__(
        self, node: Node, store: Store, passwords: Passwords, tokens: Tokens, second_factor: SecondFactor
    ) -> None:
        self._node = node
        self._store = store
        self._passwords = passwords
        self._tokens = tokens
        self._second_factor = second_factor
        self._attempts = Attempts(node, "logins")

    async def open(self) -> None:
        """Begins to hear of what fails in other processes."""
        await self._attempts.open()

    async def login(self, request: LoginRequest) -> LoginReply:
        """A password or a token to a login. Raises LoginFailed, SecondFactorRequired."""
        type = request.WhichOneof("credential") or "none"
        try:
            match type:
                case "password":
                    reply = await self._login_by_password(request)
                case "resume":
                    reply = await self._login_by_token(request.resume)
                case _:
                    raise InvalidInput("Unrecognized options for login request", code="400")
        except LoginFailed as error:
            LOGINS.labels(type, "blocked" if "blocked" in error.error_code else "refused").inc()
            raise
        except PalaverError:
            LOGINS.labels(type, "failed").inc()
            raise
        LOGINS.labels(type, "succeeded").inc()
        return reply

    async def authenticate(self, request: AuthenticateRequest) -> AuthenticateReply:
        """Whose token this is, if it works and they may be here. Raises LoginRequired."""
        try:
            known = await self._tokens.recognize(request.token)
        except LoginFailed as error:
            raise LoginRequired(error.error_reason, code=error.error_code) from None
        if request.user_id and request.user_id != known.user_id:
            raise LoginRequired(LOGGED_OUT, code="403")
        user = await self._node.access.find_user(known.user_id)
        if user is None or not user.active:
            raise LoginRequired("User is not activated", code="error-user-is-not-activated")
        return AuthenticateReply(user_id=known.user_id, hashed_token=known.hashed_token, expires_at=known.expires_at)

    async def check(self, request: CheckLoginRequest) -> CheckLoginReply:
        """Whether a login still stands, by what is stored and nothing else. Raises LoginRequired."""
        # The user first: what was revoked by the events that their document knows shows in a token that is read later.
        user = await self._store.find_user(request.user_id)
        token = await self._store.find_token(request.hashed_token) if request.hashed_token else None
        if token is None or token["user_id"] != request.user_id or "revoked_at" in token:
            raise LoginRequired(LOGGED_OUT, code="403")
        if 0 < token.get("expires_at", {}).get("$date", 0) <= now():
            raise LoginRequired(EXPIRED, code="403")
        if user is None or not user.get("active"):
            raise LoginRequired("User is not activated", code="error-user-is-not-activated")
        return CheckLoginReply(applied_seq=user.get("applied_seq", 0))

    async def logout(self, request: LogoutRequest) -> Empty:
        """Ends one login, or several, of the actor; or with logout-other-user all of somebody else's.

        Personal access tokens are none of the others: whoever leaves their devices does not mean their programs.
        """
        access = self._node.access
        actor = await access.get_actor(request.actor)
        by = user_actor(actor.id)
        if request.user_id and request.user_id != actor.id:
            if not access.may(actor, "logout-other-user"):
                raise NotAllowed(code="unauthorized")
            if await self._store.find_user(request.user_id) is None:
                raise UserNotFound()
            await self._tokens.revoke(request.user_id, by)
        elif request.all or (request.user_id and not request.hashed_token):
            await self._tokens.revoke(actor.id, by)
        elif request.others:
            kept = request.hashed_token
            await self._tokens.revoke(actor.id, by, lambda token: token["_id"] != kept and not is_personal(token))
        elif request.hashed_token:
            ended = request.hashed_token
            await self._tokens.revoke(actor.id, by, lambda token: token["_id"] == ended)
        else:
            raise InvalidInput("Nothing says which login should end")
        return Empty()

    async def create_token(self, request: CreateTokenRequest) -> TokenReply:
        """A login of a user's, for somebody who may act as anybody. Raises NotAllowed, UserNotFound, LoginFailed."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if not access.may(actor, "user-generate-access-token"):
            raise NotAllowed("Not authorized", code="error-not-authorized")

        async def check(draft: Draft, current: Document) -> None:
            self._check_may_login(current)

        token, _, _ = await self._tokens.issue(
            request.user_id,
            user_actor(actor.id),
            type="created",
            days=self._days(),
            about=_about(request),
            check=check,
        )
        return TokenReply(user_id=request.user_id, token=token)

    async def _login_by_password(self, request: LoginRequest) -> LoginReply:
        given = request.password
        user = await self._find(given)
        name = fold(user.get("username", "")) if user is not None else _typed(given)
        self._attempts.check(name, request.address)
        digest = _digest(given)
        # What can't be a password is verified all the same: a refusal takes the same time, whatever it is for. Of many
        # guesses at once each finds the failures of those before it counted.
        right = await self._passwords.verify(
            user,
            digest or "",
            check=lambda: self._attempts.check(name, request.address),
            on_wrong=lambda: self._attempts.count(name, request.address),
        )
        if not right or digest is None:
            await self._attempts.tell(name, request.address)
            raise WrongCredentials()
        assert user is not None
        await self._attempts.succeeded(name)
        verified = stored_hash(user)
        self._check_may_login(user)
        has_shown = await self._second_factor.check_login(
            user, request.second_factor_code, request.second_factor_method
        )

        async def check(draft: Draft, current: Document) -> None:
            self._check_may_login(current)
            if stored_hash(current) != verified:  # changed while this login was under way
                raise WrongCredentials()

        reply = await self._begin(user["_id"], "password", _about(request), check)
        if has_shown:
            await self._second_factor.remember_login(user["_id"], reply.hashed_token)
        return reply

    async def log_in_by_link(self, user_id: str, request: ResetPasswordRequest | VerifyEmailRequest) -> LoginReply:
        """For `links.py`: a login of who has used a link of ours, and has no second factor to show besides."""
        user = await self._store.find_user(user_id)
        if user is None:
            raise LoginFailed(LOGGED_OUT)
        self._check_may_login(user)
        await self._second_factor.check_login(user, "", "")

        async def check(draft: Draft, current: Document) -> None:
            self._check_may_login(current)

        return await self._begin(user_id, "link", _about(request), check)

    async def _begin(
        self, user_id: str, type: str, about: Document, check: Callable[[Draft, Document], Awaitable[None]]
    ) -> LoginReply:
        """A new login of a user's own."""
        token, hashed, expires_at = await self._tokens.issue(
            user_id, user_actor(user_id), type=type, days=self._days(), about=about, check=check
        )
        return LoginReply(
            user_id=user_id,
            token=token,
            hashed_token=hashed,
            expires_at=expires_at,
            type=type,
            user=await self._own_document(user_id),
        )

    async def _login_by_token(self, token: str) -> LoginReply:
        known = await self._tokens.recognize(token)
        user = await self._store.find_user(known.user_id)
        if user is None:
            raise LoginFailed(LOGGED_OUT)
        if not user.get("active"):
            raise _not_activated()
        return LoginReply(
            user_id=known.user_id,
            token=token,
            hashed_token=known.hashed_token,
            expires_at=known.expires_at or now() + _MAX_DAYS * 86_400_000,  # clients want to hear of an end
            type="resume",
            user=orjson.dumps(own_user(user)),
        )

    async def _find(self, given: LoginRequest.Password) -> Document | None:
        match given.WhichOneof("user"):
            case "username":
                return await self._store.find_user_by_name(given.username)
            case "email":
                return await self._store.find_user_by_email(given.email)
            case "user_id":
                return await self._store.find_user(given.user_id)
            case "name_or_email" if "@" in given.name_or_email:
                return await self._store.find_user_by_email(given.name_or_email)
            case "name_or_email":
                return await self._store.find_user_by_name(given.name_or_email)
        raise InvalidInput("A login needs a user", code="400")

    async def _own_document(self, user_id: str) -> bytes:
        user = await self._store.find_user(user_id)
        if user is None:
            raise LoginFailed(LOGGED_OUT)
        return orjson.dumps(own_user(user))

    def _check_may_login(self, user: Document) -> None:
        """Raises LoginFailed for somebody whose password is right and who may not come in all the same."""
        if not user.get("active"):
            raise _not_activated()
        if user.get("type") == "app":
            raise LoginFailed("App user is not allowed to login", code="error-app-user-is-not-allowed-to-login")
        if self._node.access.setting("Accounts_EmailVerification") and "admin" not in user.get("roles", ()):
            emails = user.get("emails", ())
            if not any(email.get("verified") for email in emails):
                shown = emails[0]["address"] if emails else ""
                raise LoginFailed(f"Invalid email {shown}".strip(), code="error-invalid-email")

    def _days(self) -> int:
        days = int(self._node.access.setting("Accounts_LoginExpiration"))
        return min(days, _MAX_DAYS) if days > 0 else _DEFAULT_DAYS


def _about(request: LoginRequest | CreateTokenRequest | ResetPasswordRequest | VerifyEmailRequest) -> Document:
    """What is kept of where a login came from, and the id by which others may know it."""
    return {
        "session_id": new_id(),
        "address": request.address[:_MAX_ABOUT],
        "user_agent": request.user_agent[:_MAX_ABOUT],
        "instance_id": request.instance_id[:_MAX_ABOUT],
    }


def _not_activated() -> LoginFailed:
    return LoginFailed("User is not activated", code="error-user-is-not-activated")


def _digest(given: LoginRequest.Password) -> str | None:
    """The SHA-256 of the password, in whichever form it came; None when it can't be one."""
    if given.WhichOneof("secret") == "sha256":
        return rules.normal_digest(given.sha256)
    return rules.digest_of(given.plain) if 0 < len(given.plain) <= rules.MAX_PASSWORD else None


def _typed(given: LoginRequest.Password) -> str:
    """What somebody typed as their name, when there is no such user."""
    return fold((given.username or given.email or given.user_id or given.name_or_email)[:_MAX_ABOUT])
