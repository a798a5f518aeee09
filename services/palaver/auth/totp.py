"""Pure rules of authenticator apps: time-based codes (RFC 6238: SHA-1, six digits, thirty seconds) and backup codes.

Nothing here reads or writes. Called by `authenticators.py`.
"""

import base64
import hashlib
import hmac
import secrets
import struct
from urllib.parse import quote, urlencode

from palaver.ids import new_id

DIGITS = 6
STEP_SECONDS = 30
BACKUP_CODES = 12

_BACKUP_LENGTH = 8
_SECRET_BYTES = 20


def new_secret() -> str:
    """A secret in base32, as apps take it."""
    return base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def provisioning_url(secret: str, *, issuer: str, account: str) -> str:
    """What an app reads from a picture."""
    query = urlencode({"secret": secret, "issuer": issuer}, quote_via=quote)
    return f"otpauth://totp/{quote(f'{issuer}:{account}', safe=':@')}?{query}"


def code_at(secret: str, step: int) -> str:
    """The code of one step (of thirty seconds since 1970). Raises ValueError for what is no base32."""
    digest = hmac.digest(base64.b32decode(secret, casefold=True), struct.pack(">Q", step), "sha1")
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def find_step(secret: str, code: str, at: float, delta: int) -> int | None:
    """The step whose code this is, at most `delta` steps from `at` (epoch seconds); None if it is none's."""
    if len(code) != DIGITS or not (code.isascii() and code.isdecimal()):
        return None
    now = int(at) // STEP_SECONDS
    found = None
    for step in range(max(0, now - delta), now + delta + 1):
        if hmac.compare_digest(code_at(secret, step), code):
            found = step
    return found


def new_backup_codes() -> list[str]:
    """Codes that each work once, for whoever has lost the app."""
    return [new_id(_BACKUP_LENGTH) for _ in range(BACKUP_CODES)]


def hash_backup_code(code: str) -> str:
    """What is stored of a backup code."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
