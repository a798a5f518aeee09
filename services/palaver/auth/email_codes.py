"""Codes by e-mail as a second factor: sent, matched, and whether somebody has them. Called by `second_factor.py`.

A code lives as long as the settings say, in the live port: whoever loses it asks for another one. A user may have
several, since letters overtake each other; too many failures end them all. That a user has this factor is
`services.email2fa`; it counts while one of their addresses is verified and this server can send mail.
"""

import hashlib
import hmac
import secrets
from typing import Any

import msgspec

from palaver.auth.letters import Letters
from palaver.commit import now
from palaver.database import Document
from palaver.ids import encode_subject_token, new_id
from palaver.node import Node

_SETTINGS = "Accounts_TwoFactorAuthentication_"
_MAX_CODES = 5
_MAX_SECONDS = 86_400
_PAUSE_SECONDS = 10  # between two letters to the same user


class _Code(msgspec.Struct):
    hashed: str
    until: int  # epoch milliseconds


class _Codes(msgspec.Struct):
    codes: list[_Code] = []
    failures: int = 0


class EmailCodes:
    """Sends and matches them."""

    def __init__(self, node: Node, letters: Letters) -> None:
        self._node = node
        self._letters = letters

    def counts_for(self, user: Document) -> bool:
        """Whether the user has this factor and can be sent a code."""
        wanted = user.get("services", {}).get("email2fa", {}).get("enabled")
        return bool(wanted) and self._letters.is_configured and verified_address(user) is not None

    async def ensure(self, user: Document) -> dict[str, Any]:
        """Sends a code, unless one is on its way; returns what clients are told. Raises MailFailed."""
        codes = await self._read(user)
        generated = not codes.codes
        if generated:
            codes = await self._send(user, codes, in_background=False)
        until = max(code.until for code in codes.codes)
        return {"codeGenerated": generated, "codeCount": len(codes.codes), "codeExpires": {"$date": until}}

    async def send_another(self, user: Document) -> None:
        """Sends one more in the background; right after another one, or beside enough that work, it doesn't."""
        codes = await self._read(user)
        if len(codes.codes) < _MAX_CODES and await self._node.live.acquire(
            f"second-factor-letter.{_token(user)}", new_id(), _PAUSE_SECONDS
        ):
            await self._send(user, codes, in_background=True)

    async def match(self, user: Document, given: str) -> bool:
        """Whether it is one of the user's codes, which ends them all."""
        codes = await self._read(user)
        wanted = _hash(user, given.strip())
        if any(hmac.compare_digest(code.hashed, wanted) for code in codes.codes):
            await self._node.live.delete(_key(user))
            # Of several who show it at once one is right.
            return await self._node.live.acquire(f"second-factor-used.{_token(user)}.{wanted}", new_id(), _MAX_SECONDS)
        codes.failures += 1
        if codes.failures >= int(self._node.access.setting(_SETTINGS + "Max_Invalid_Email_Code_Attempts")):
            await self._node.live.delete(_key(user))
        elif codes.codes:
            await self._write(user, codes)
        return False

    async def _send(self, user: Document, codes: _Codes, *, in_background: bool) -> _Codes:
        address = verified_address(user)
        assert address is not None
        code = str(secrets.randbelow(900_000) + 100_000)
        seconds = max(60, min(int(self._node.access.setting(_SETTINGS + "By_Email_Code_Expiration")), _MAX_SECONDS))
        codes.codes = [*codes.codes, _Code(_hash(user, code), now() + seconds * 1000)][-_MAX_CODES:]
        await self._write(user, codes)
        values = {"code": code, "minutes": str(seconds // 60)}
        if in_background:
            self._letters.post("code", user, address, **values)
            return codes
        try:
            await self._letters.send("code", user, address, **values)
        except BaseException:
            await self._node.live.delete(_key(user))  # the next attempt sends one
            raise
        return codes

    async def _read(self, user: Document) -> _Codes:
        stored = await self._node.live.get(_key(user))
        codes = msgspec.json.decode(stored, type=_Codes) if stored is not None else _Codes()
        codes.codes = [code for code in codes.codes if code.until > now()]
        return codes

    async def _write(self, user: Document, codes: _Codes) -> None:
        seconds = (max(code.until for code in codes.codes) - now()) / 1000
        await self._node.live.put(_key(user), msgspec.json.encode(codes), max(1.0, seconds))


def verified_address(user: Document) -> str | None:
    """Where the user is sure to be reached."""
    verified = (str(email["address"]) for email in user.get("emails", ()) if email.get("verified"))
    return next(verified, None)


def _token(user: Document) -> str:
    return encode_subject_token(user["_id"])


def _key(user: Document) -> str:
    return f"second-factor-codes.{_token(user)}"


def _hash(user: Document, code: str) -> str:
    return hashlib.sha256(f"{user['_id']} {code}".encode("utf-8", "surrogatepass")).hexdigest()
