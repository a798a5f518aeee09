"""Certificates between a workspace's processes: that they fit, and when they are renewed."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509

from palaver_operator.objects.certificates import build_certificates
from palaver_operator.roles import ROLES
from tests.palaver_operator.workspaces import SINGLE, workspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Values = dict[str, dict[str, str]]


def made(existing: Values, now: datetime) -> Values:
    objects: list[dict[str, Any]] = build_certificates(workspace(), existing, now)
    return {
        one["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in one["data"].items()}
        for one in objects
    }


def certificate(values: dict[str, str], key: str = "tls.crt") -> x509.Certificate:
    return x509.load_pem_x509_certificate(values[key].encode())


def test_each_role_has_the_name_that_its_callers_look_for() -> None:
    found = made({}, NOW)
    authority = certificate(found["chat-grpc-ca"], "ca.crt")
    for role in ROLES:
        values = found[f"chat-grpc-{role}"]
        own = certificate(values)
        own.verify_directly_issued_by(authority)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"{role}.palaver"]
        usages = {usage.dotted_string for usage in own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
        assert usages == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}
        assert values["ca.crt"] == found["chat-grpc-ca"]["ca.crt"]
        assert "ca.key" not in values


def test_nothing_is_renewed_before_its_time() -> None:
    found = made({}, NOW)
    assert made(found, NOW + timedelta(days=59)) == found


def test_a_role_is_renewed_a_month_before_its_end_by_the_same_authority() -> None:
    found = made({}, NOW)
    later = made(found, NOW + timedelta(days=61))
    assert later["chat-grpc-ca"] == found["chat-grpc-ca"]
    assert later["chat-grpc-auth"]["tls.crt"] != found["chat-grpc-auth"]["tls.crt"]


def test_what_was_damaged_is_made_anew() -> None:
    found = made({}, NOW)
    found["chat-grpc-auth"]["tls.crt"] = "nonsense"
    found["chat-grpc-gateway"] |= {key: found["chat-grpc-presence"][key] for key in ("tls.crt", "tls.key")}
    later = made(found, NOW)
    assert certificate(later["chat-grpc-auth"]).issuer == certificate(later["chat-grpc-ca"], "ca.crt").subject
    assert later["chat-grpc-gateway"]["tls.crt"] != found["chat-grpc-gateway"]["tls.crt"]
    assert later["chat-grpc-messaging"] == found["chat-grpc-messaging"]


def test_a_new_authority_is_trusted_by_all_before_it_signs() -> None:
    """Over eleven years: who has what was made a week ago trusts what is made today, and the reverse."""
    found, now, signers = made({}, NOW), NOW, set()
    for step in [28] * 115 + [7] * 110:
        now += timedelta(days=step)
        after = made(found, now)
        for before_values, after_values in ((found, after), (after, found)):
            trusted = x509.load_pem_x509_certificates(before_values["chat-grpc-auth"]["ca.crt"].encode())
            shown = certificate(after_values["chat-grpc-gateway"])
            signer = next(one for one in trusted if one.subject == shown.issuer)
            shown.verify_directly_issued_by(signer)
            signers.add(signer.serial_number)
            assert shown.not_valid_after_utc > now
            assert signer.not_valid_after_utc >= shown.not_valid_after_utc
        found = after
    assert len(signers) == 2


def test_one_process_needs_none() -> None:
    assert build_certificates(workspace(SINGLE), {}, NOW) == []
