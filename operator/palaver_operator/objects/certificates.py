"""The certificates by which a workspace's processes know each other: an authority of its own, one for each role, and
one for the managed NATS.

A role's certificate lasts 90 days and is renewed 30 days before its end; processes read it again by themselves. That of
NATS lasts a year, as its servers read it only when they start: they do so one after another when it is renewed. The
authority lasts ten years. In its last year a second one is made, which everybody trusts from then on; a week later it
signs what is new, and the first is trusted until its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from palaver_operator.objects.naming import Object, component_name, grpc_secret, nats_certificate
from palaver_operator.objects.secrets import Values, secret
from palaver_operator.resource import Workspace
from palaver_operator.roles import ROLES

AUTHORITY = "ca"
_AUTHORITY_DAYS = 3650
_AUTHORITY_RENEWAL_DAYS = 365
_TRUST_DAYS = 7  # how long a new authority is only trusted, before it signs
_DAYS = 90
_NATS_DAYS = 365
_RENEWAL_DAYS = 30


def build_certificates(workspace: Workspace, existing: Mapping[str, Values], now: datetime) -> list[Object]:
    """The authority's Secret and the roles', as they are (by the name of their Secret), or new where it is time.

    `now`: UTC.
    """
    if workspace.is_single:
        return []
    name = grpc_secret(workspace, AUTHORITY)
    authority = _authority(workspace, existing.get(name, {}), now)
    trusted = "".join(authority.get(key, "") for key in ("ca.crt", "next.crt", "previous.crt"))
    found = [secret(workspace, name, "authority", authority)]
    for holder in _list_holders(workspace):
        kept = existing.get(holder.secret, {})
        if not _is_good(kept, authority["ca.crt"], holder, now):
            kept = _issue(authority, holder, now)
        values = {key: kept[key] for key in ("tls.crt", "tls.key")} | {"ca.crt": trusted}
        found.append(secret(workspace, holder.secret, holder.component, values, type="kubernetes.io/tls"))
    return found


def find_first_end(workspace: Workspace, existing: Mapping[str, Values]) -> datetime | None:
    """When the first of the certificates ends that exist (by the name of their Secret), in UTC."""
    pages = (existing.get(holder.secret, {}).get("tls.crt", "") for holder in _list_holders(workspace))
    ends = [end for page in pages if (end := _find_end(page)) is not None]
    return min(ends, default=None)


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who has a certificate, and the names by which callers look for it."""

    component: str
    secret: str
    dns_names: tuple[str, ...]
    days: int


def _list_holders(workspace: Workspace) -> list[_Holder]:
    # The roles' names are those of docs/architecture.md, "Identity".
    found = [_Holder(role, grpc_secret(workspace, role), (f"{role}.palaver",), _DAYS) for role in ROLES]
    if workspace.managed_nats:
        name, domain = component_name(workspace, "nats"), f"{workspace.namespace}.svc"
        # Clients, other servers, and who comes by `kubectl port-forward`.
        names = (f"{name}.{domain}", f"*.{name}-servers.{domain}", "localhost")
        found.append(_Holder("nats", nats_certificate(workspace), names, _NATS_DAYS))
    return found


def _authority(workspace: Workspace, existing: Values, now: datetime) -> dict[str, str]:
    found = dict(existing)
    if not _ends_after(found.get("ca.crt", ""), now) or "ca.key" not in found:
        found["ca.crt"], found["ca.key"] = _make_authority(workspace, now)
        return {key: found[key] for key in ("ca.crt", "ca.key")}
    if not _ends_after(found["ca.crt"], now + timedelta(days=_AUTHORITY_RENEWAL_DAYS)):
        if "next.crt" not in found:
            found["next.crt"], found["next.key"] = _make_authority(workspace, now)
        elif _load(found["next.crt"]).not_valid_before_utc + timedelta(days=_TRUST_DAYS) <= now:
            found["previous.crt"] = found["ca.crt"]
            found["ca.crt"], found["ca.key"] = found.pop("next.crt"), found.pop("next.key")
    if "previous.crt" in found and not _ends_after(found["previous.crt"], now):
        del found["previous.crt"]
    return found


def _make_authority(workspace: Workspace, now: datetime) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Palaver {workspace.namespace}/{workspace.name} {now:%Y-%m}")
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        _begin(name, name, key.public_key(), now, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(made), _pem_key(key)


def _issue(authority: Values, holder: _Holder, now: datetime) -> dict[str, str]:
    signer = serialization.load_pem_private_key(authority["ca.key"].encode(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is of a kind that this operator does not make")
    issuer = _load(authority["ca.crt"])
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (
        _begin(_name(holder.component), issuer.subject, key.public_key(), now, holder.days, issuer.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, holder.dns_names))), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return {"tls.crt": _pem(made), "tls.key": _pem_key(key)}


def _is_good(kept: Values, authority: str, holder: _Holder, now: datetime) -> bool:
    """Whether a certificate may stay as it is."""
    if not kept.get("tls.key") or not _ends_after(kept.get("tls.crt", ""), now + timedelta(days=_RENEWAL_DAYS)):
        return False
    certificate = _load(kept["tls.crt"])
    try:
        certificate.verify_directly_issued_by(_load(authority))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return set(holder.dns_names) <= set(names.get_values_for_type(x509.DNSName))


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
    at_most: datetime | None = None,
) -> x509.CertificateBuilder:
    ends = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(min(ends, at_most) if at_most else ends)
    )


def _ends_after(pem: str, moment: datetime) -> bool:
    end = _find_end(pem)
    return end is not None and end > moment


def _find_end(pem: str) -> datetime | None:
    """None of what is no certificate."""
    try:
        return _load(pem).not_valid_after_utc if pem else None
    except ValueError:
        return None


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
