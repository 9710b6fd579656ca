"""
What an audit looked at, as it was: frozen, without secrets, judged later and as often as one likes.

Strength and sameness of a secret are kept as a number and a tag keyed with a pepper of this one collection, so
the evidence cannot be used to guess it; both stay out of every `repr` and report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from stage4.audit.comparison import Summary
from stage4.audit.waivers import Waiver

if TYPE_CHECKING:
    from stage4.audit.evidence_live import Live
    from stage4.security.certificate_facts import CertificateFacts


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something could not be read; `undecided` when nothing can be said, else it is plainly wrong."""

    code: str
    params: Mapping[str, object] = field(default_factory=dict)
    undecided: bool = False


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A file of a bundle that should hold certificates, the leaf first."""

    role: str  # ca, server, client, metrics_service, risk_service
    path: str
    problem: Problem | None = None
    certificates: tuple[CertificateFacts, ...] = ()
    stray_text: bool = False
    demo: bool = False  # from the authority that makes demo bundles


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file that should hold one private key; `spki_sha256` names its public half."""

    role: str
    path: str
    problem: Problem | None = None
    spki_sha256: str | None = None
    stray_text: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key; `matches` is None where one of them could not be read."""

    role: str
    matches: bool | None


@dataclass(frozen=True, slots=True)
class RevocationFile:
    """A file that should hold certificate revocation lists."""

    path: str
    problem: Problem | None = None
    entries: int = 0


@dataclass(frozen=True, slots=True)
class Revocation:
    """What the lists say of a path: `state` is a `RevocationState`, `subject` the certificate that it is about."""

    state: str
    subject: str = ""
    issuer: str = ""
    revoked_at: datetime | None = None
    reason: str | None = None
    next_update: datetime | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """How a peer would judge a leaf; `reason` is a `ChainReason`, None where there was nothing to judge.

    `revocation` is what the lists say of the leaf and its CAs, None where no chain leads to the anchor. `path` names by
    fingerprint the leaf, its CAs and the anchors above them, empty where there is none.
    """

    role: str
    purpose: str  # server or client
    host: str | None
    reason: str | None
    detail: str = ""
    revocation: Revocation | None = None
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """The certificates and keys of the installation, and the names its files carry."""

    certificates: tuple[CertificateFile, ...] = ()
    keys: tuple[KeyFile, ...] = ()
    pairs: tuple[Pair, ...] = ()
    chains: tuple[Chain, ...] = ()
    revocation_files: tuple[RevocationFile, ...] = ()
    client_ca: CertificateFile | None = None  # what the metrics service believes
    risk_client_ca: CertificateFile | None = None  # what the risk service believes
    authority_keys: tuple[str, ...] = ()  # files with or near the bundle that hold the CA's private key
    unlooked: tuple[str, ...] = ()  # where a private key was looked for in vain, because nothing could be read
    next_authority: str | None = None  # the fingerprint of the CA that a rotation under way puts in place
    foreign_names: tuple[str, ...] = ()  # configured files whose name says they belong to another bundle

    @property
    def files(self) -> tuple[CertificateFile | KeyFile, ...]:
        return (*self.certificates, *self.keys)

    @property
    def believed(self) -> tuple[CertificateFile, ...]:
        """The files of the CAs that somebody here believes, each once."""
        by_path: dict[str, CertificateFile] = {}
        for file in (self.certificate("ca"), self.client_ca, self.risk_client_ca):
            if file is not None:
                by_path.setdefault(file.path, file)
        return tuple(by_path.values())

    @property
    def authorities(self) -> frozenset[str]:
        """The fingerprints of all CAs that somebody here believes."""
        return frozenset(facts.fingerprint for file in self.believed for facts in file.certificates)

    def certificate(self, role: str) -> CertificateFile | None:
        return next((file for file in self.certificates if file.role == role), None)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Mode and owner of a file; all None where it is absent."""

    path: str
    secret: bool
    mode: int | None = None
    owner: int | None = None
    outside: bool = False  # resolves to somewhere outside the installation
    problem: Problem | None = None
    shared_group: bool = False  # a group with other members may write
    links: int = 1  # how many names the file has
    temporary: bool = False  # it lies below a temporary directory


@dataclass(frozen=True, slots=True)
class DirectoryFacts:
    """
    A directory on the way to an audited file; `above` the installation's root or within it.

    `shared_group`: its group has other members than the account that owns the installation.
    """

    path: str
    mode: int
    above: bool = False
    owner: int | None = None
    shared_group: bool = False
    problem: Problem | None = None
    private: bool = False  # a secret file lies in it


@dataclass(frozen=True, slots=True)
class Files:
    """The files and directories of the installation; `tracked` is None where git could not be asked."""

    owner: int  # of the installation's root
    facts: tuple[FileFacts, ...] = ()
    directories: tuple[DirectoryFacts, ...] = ()
    tracked: tuple[str, ...] | None = ()
    world_writable_home: bool = False  # the installation lies below a temporary directory
    referred: tuple[FileFacts, ...] = ()  # every path the settings name


@dataclass(frozen=True, slots=True)
class Secret:
    """How good a secret is, and a tag that is equal for equal secrets of this collection, however they are spelt."""

    bits: float = field(repr=False)
    placeholder: bool
    tag: str = field(repr=False)
    # Tags of its digests, by which it is known again in a token that is kept as a hash.
    hashed_tags: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """
    A configured token; `reference` names its source (`env:NAME`, `file:PATH`, `hash:ALGORITHM`), not its value.

    `position` counts the entries of one id in one service from 1; `place` is the key of its entry in the settings.
    """

    service: str
    token_id: str
    reference: str
    sources: int
    scopes: tuple[str, ...]
    problem: Problem | None = None
    missing_variable: bool = False
    secret: Secret | None = None
    hash_tag: str | None = field(default=None, repr=False)
    hash_problem: Problem | None = None
    hash_agrees: bool | None = None  # where a hash stands beside the secret itself
    guessed: bool = False  # the hash of a word that everybody tries first
    position: int = 1
    place: str = ""

    @property
    def subject(self) -> str:
        return f"{self.service}/{self.token_id}" + (f"#{self.position}" if self.position > 1 else "")


@dataclass(frozen=True, slots=True)
class OtherSecret:
    """A secret that is no token of a service here, for example of a place that takes checkpoints."""

    subject: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A service that takes tokens; `tls_*` are None for one that has no TLS setting."""

    name: str
    enabled: bool
    tls_enabled: bool | None = None
    require_client_auth: bool | None = None
    pinned: tuple[str, ...] = ()
    furnished: bool = True  # the settings name a certificate and a key for it


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """A rotation registry as read; `rows` by (key, purpose) in lower case."""

    name: str  # tls or keys
    path: str
    problem: Problem | None = None
    rows: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    bad_rows: tuple[tuple[str, str], ...] = ()  # (row, code)


@dataclass(frozen=True, slots=True)
class EarlierCertificate:
    """The certificate that `role` had at an earlier time, as a kept report or a backup shows it."""

    role: str
    source: str  # the report or the backed-up file
    at: datetime
    spki_sha256: str
    replaced: bool = False  # a backup: a rotation at `at` took its place


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The active key of the ring."""

    key_id: str
    created: datetime
    problem: Problem | None = None  # why its secret is unavailable
    missing_variable: bool = False


@dataclass(frozen=True, slots=True)
class LogVerdict:
    """The verifier's words: how many entries archives and log have, what is broken first, what could not be judged."""

    entries: int
    exit_code: int
    first: Problem | None = None
    findings: int = 0


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The decision log and its keys; `router_*` is the live router's own HMAC key where one is set."""

    path: str
    present: bool
    entries_before: int = 0  # at least so many it had: kept reports counted them, or its archives show it
    log_id: str | None = None  # of the log that is here or, where it does not say, that was here
    other_log: str | None = None  # another log that an earlier audit found in its place
    ring_problem: Problem | None = None
    active: SigningKey | None = None
    ring_secrets: tuple[OtherSecret, ...] = ()
    verdict: LogVerdict | None = None
    problem: Problem | None = None
    trace: str = ""  # what shows that the log was there, where it is not
    doubts: tuple[Problem, ...] = ()  # places outside, by `place`, that should know the log and cannot vouch for it
    router_sources: int = 0
    router_key_id: str | None = None
    router_reference: str = ""
    router_secret: Secret | None = None
    router_short: bool = False  # the secret has fewer bytes than an HMAC-SHA-256 key needs
    router_problem: Problem | None = None
    router_missing_variable: bool = False


@dataclass(frozen=True, slots=True)
class SettingNotice:
    """
    A key of the settings that stage4 does not know; `blank` where it has no value, or one that is no text.

    `value` is the name that a known key gives of something the settings do not have.
    """

    key: str
    line: int
    blank: bool = False
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A public file that was read, by digest; None where it could not be."""

    path: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything one audit looked at."""

    collected_at: datetime
    installation: str  # demo, drill or production
    bundle: Bundle
    files: Files
    services: tuple[ServiceFacts, ...]
    tokens: tuple[TokenFacts, ...]
    registries: tuple[RegistryFacts, ...]
    log: LogFacts
    notices: tuple[SettingNotice, ...] = ()
    inputs: tuple[Input, ...] = ()  # the settings first
    waivers: tuple[Waiver, ...] = ()
    waivers_problem: Problem | None = None  # why none of the file's waivers holds
    earlier_report: Summary | None = None  # the report that this audit is compared with
    doubted_reports: tuple[str, ...] = ()  # kept ones, the newest first, that this installation did not sign
    unchecked_reports: bool = False  # there are kept ones, and no key to tell which to believe
    other_secrets: tuple[OtherSecret, ...] = ()
    inline_secrets: tuple[str, ...] = ()  # keys that stage4 knows and whose value has a secret in it
    earlier_certificates: tuple[EarlierCertificate, ...] = ()
    unfinished: str | None = None  # the journal of a rotation of the bundle that was interrupted
    live: Live | None = None  # None: the running service was not probed

    @property
    def config_sha256(self) -> str | None:
        """The digest of the settings, where they could be read."""
        return self.inputs[0].sha256 if self.inputs else None

    def registry(self, name: str) -> RegistryFacts | None:
        return next((registry for registry in self.registries if registry.name == name), None)
