"""Reads the certificate bundle: what each file holds, which key belongs to what, how a peer would judge the chains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from stage4 import files
from stage4.audit.collect_keys import spki_sha256
from stage4.audit.evidence import Bundle, CertificateFile, Chain, KeyFile, Pair, Revocation, RevocationFile
from stage4.audit.reading import Place, printable, problem_of
from stage4.config import Installation
from stage4.config.addresses import is_anywhere
from stage4.config.settings import MetricsService
from stage4.errors import Stage4Error
from stage4.security import certificates, revocation
from stage4.security.certificate_chain import Purpose, signers, verify_chain
from stage4.security.certificate_facts import facts_of
from stage4.security.demo_pki import bundle_paths, is_demo
from stage4.security.revocation import RevocationList
from stage4.security.rotation_journal import read_journal

_NAMED: Final = re.compile(r"(.+)-(?:ca|server|server-key|client|client-key)\.pem")

Certificates = Mapping[str, list[x509.Certificate]]


def configured_paths(installation: Installation, bundle: str) -> dict[str, Path]:
    """The five files by role: as the settings name them, else `<bundle>-<role>.pem` in the bundle directory."""
    mtls = installation.settings.execution.mtls
    named = {
        "ca": mtls.ca_certificate,
        "server": mtls.server_certificate,
        "server_key": mtls.server_key,
        "client": mtls.client_certificate,
        "client_key": mtls.client_key,
    }
    usual = bundle_paths(installation.path(mtls.bundle_directory), bundle)
    return {role: installation.path(name) if name else usual[role] for role, name in named.items()}


def collect(installation: Installation, bundle: str, now: datetime) -> Bundle:
    """Everything about the bundle at `now`; what cannot be read is a problem in the result, never an exception."""
    place = Place(installation.root)
    paths = configured_paths(installation, bundle)
    runtime = installation.settings.runtime
    services = {"metrics_service": runtime.metrics_service, "risk_service": runtime.risk_service}
    # A service's own certificate is judged apart only where it is not the bundle's.
    for name, service in services.items():
        if service.enabled and (service.tls.certificate_path or service.tls.private_key_path):
            certificate, key = service.tls.certificate_path, service.tls.private_key_path
            own = {
                name: installation.path(certificate) if certificate else paths["server"],
                f"{name}_key": installation.path(key) if key else paths["server_key"],
            }
            if own[name] != paths["server"] or own[f"{name}_key"] != paths["server_key"]:
                paths |= own
    loaded: dict[str, list[x509.Certificate]] = {}
    keys: dict[str, PrivateKeyTypes] = {}
    certificate_files = [
        _certificate_file(place, role, path, loaded) for role, path in paths.items() if not role.endswith("_key")
    ]
    key_files = [_key_file(place, role, path, keys) for role, path in paths.items() if role.endswith("_key")]
    # What a service is not told to believe, it believes of the bundle.
    believed = {
        name: service.tls.client_ca_path or installation.settings.execution.mtls.ca_certificate
        for name, service in services.items()
        if service.enabled and service.tls.enabled
    }
    client_cas = {
        name: _certificate_file(place, "client_ca", installation.path(path), {})
        for name, path in believed.items()
        if path
    }
    roles = [role for role in paths if f"{role}_key" in paths]
    lists: list[RevocationList] = []
    named_lists = installation.settings.execution.mtls.crls
    revocation_files = [_revocation_file(place, installation.path(name), lists) for name in named_lists]
    return Bundle(
        certificates=tuple(certificate_files),
        keys=tuple(key_files),
        pairs=tuple(Pair(role, _matches(loaded.get(role), keys.get(f"{role}_key"))) for role in roles),
        chains=tuple(_chains(roles, loaded, lists, _hosts(services, roles), now)),
        revocation_files=tuple(revocation_files),
        client_ca=client_cas.get("metrics_service"),
        risk_client_ca=client_cas.get("risk_service"),
        next_authority=_next_authority(installation.root, bundle),
        foreign_names=tuple(
            place.shown(path)
            for path in paths.values()
            if (match := _NAMED.fullmatch(path.name)) and match.group(1) != bundle
        ),
    )


def _certificate_file(
    place: Place, role: str, path: Path, loaded: dict[str, list[x509.Certificate]]
) -> CertificateFile:
    shown = place.shown(path)
    try:
        pem = files.read_limited(path, certificates.PEM_LIMIT)
        found = certificates.parse_certificates(pem, path)
        facts = tuple(facts_of(certificate) for certificate in found)
    except Stage4Error as error:
        return CertificateFile(role, shown, problem_of(error, place))
    loaded[role] = found
    return CertificateFile(
        role=role,
        path=shown,
        certificates=facts,
        stray_text=certificates.has_stray_text(pem) or set(certificates.pem_labels(pem)) != {"CERTIFICATE"},
        demo=any(map(is_demo, found)),
    )


def _revocation_file(place: Place, path: Path, lists: list[RevocationList]) -> RevocationFile:
    shown = place.shown(path)
    try:
        found = revocation.load_lists(path)
    except Stage4Error as error:
        return RevocationFile(shown, problem_of(error, place))
    lists += found
    return RevocationFile(shown, entries=sum(each.entries for each in found))


def _key_file(place: Place, role: str, path: Path, keys: dict[str, PrivateKeyTypes]) -> KeyFile:
    shown = place.shown(path)
    try:
        pem = files.read_limited(path, certificates.PEM_LIMIT)
        key = certificates.parse_private_key(pem, path)
    except Stage4Error as error:
        return KeyFile(role, shown, problem_of(error, place))
    keys[role] = key
    stray = certificates.has_stray_text(pem) or len(certificates.pem_labels(pem)) != 1
    return KeyFile(role, shown, spki_sha256=spki_sha256(key), stray_text=stray)


def _matches(chain: list[x509.Certificate] | None, key: PrivateKeyTypes | None) -> bool | None:
    return None if not chain or key is None else certificates.key_matches(chain[0], key)


def _host(bound: str) -> str:
    # A service that listens everywhere is reached by name; this is the one that every host answers to.
    return "localhost" if is_anywhere(bound) else printable(bound)


def _hosts(services: Mapping[str, MetricsService], roles: Sequence[str]) -> dict[str, list[str]]:
    """Where each certificate is met: the bundle's own stands for every enabled service that has no other."""
    hosts: dict[str, list[str]] = {"server": []}
    for name, service in services.items():
        met = hosts.setdefault(name if name in roles else "server", [])
        if service.enabled and _host(service.host) not in met:
            met.append(_host(service.host))
    return {role: met or [_host(services["metrics_service"].host)] for role, met in hosts.items()}


def _chains(
    roles: list[str],
    loaded: Certificates,
    lists: list[RevocationList],
    hosts: Mapping[str, Sequence[str]],
    now: datetime,
) -> Iterator[Chain]:
    anchors = loaded.get("ca", [])
    for role, named in ((each, host) for each in roles for host in hosts.get(each, (None,))):
        purpose: Purpose = "client" if role == "client" else "server"
        chain = loaded.get(role)
        if not chain or not anchors:
            yield Chain(role, purpose, named, None)
            continue
        try:
            verdict = verify_chain(chain[0], chain[1:], anchors, purpose=purpose, host=named, now=now)
        except Stage4Error as error:
            yield Chain(role, purpose, named, None, str(error))
        else:
            answer = None
            path: tuple[str, ...] = ()
            if verdict.ok:
                found = dict.fromkeys((*verdict.path, *signers(verdict.path[-1], anchors)))
                path = tuple(facts_of(each).fingerprint for each in found)
                said = revocation.judge_path(verdict.path, lists, intermediates=chain[1:], anchors=anchors, now=now)
                ended = (said.revoked_at, said.reason, said.next_update)
                answer = Revocation(said.state.value, said.subject, said.issuer, *ended)
            yield Chain(role, purpose, named, verdict.reason.value, verdict.detail, answer, path)


def _next_authority(root: Path, bundle: str) -> str | None:
    with suppress(Stage4Error):
        journal = read_journal(root, bundle)
        return journal.new.get("ca") if journal else None
    return None
