"""The codes of authenticator apps, by the test vectors of RFC 6238 (their last six digits)."""

import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from palaver.auth import totp

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
VECTORS = {
    59: "287082",
    1111111109: "081804",
    1111111111: "050471",
    1234567890: "005924",
    2000000000: "279037",
    20000000000: "353130",
}


@pytest.mark.parametrize(("at", "code"), VECTORS.items())
def test_the_vectors_of_the_standard(at: int, code: str) -> None:
    assert totp.code_at(RFC_SECRET, at // 30) == code
    assert totp.code_at(RFC_SECRET.lower(), at // 30) == code
    assert totp.find_step(RFC_SECRET, code, at, 0) == at // 30


@pytest.mark.parametrize(("away", "delta", "found"), [(29, 1, True), (60, 1, False), (60, 2, True), (-30, 1, True)])
def test_a_clock_may_be_wrong_by_so_many_steps(away: int, delta: int, found: bool) -> None:
    at = 1_111_111_110
    assert (totp.find_step(RFC_SECRET, "050471", at + away, delta) is not None) == found


@pytest.mark.parametrize("code", ["", "05047", "0050471", "05047x", "０５０４７１", "000000"])
def test_what_is_no_code(code: str) -> None:
    assert totp.find_step(RFC_SECRET, code, 1111111111, 1) is None


def test_what_an_app_reads() -> None:
    secret = totp.new_secret()
    assert len(base64.b32decode(secret)) == 20
    url = urlsplit(totp.provisioning_url(secret, issuer="A & B: Söhne", account="älice"))
    assert (url.scheme, url.netloc) == ("otpauth", "totp")
    assert parse_qs(url.query) == {"secret": [secret], "issuer": ["A & B: Söhne"]}


def test_backup_codes_differ() -> None:
    codes = totp.new_backup_codes()
    assert len({totp.hash_backup_code(code) for code in codes}) == 12
