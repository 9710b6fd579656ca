"""Settings that ask for less than they should, or cannot be read at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes

from support.certificates import NOW, Made
from support.hostile.cases import Case, case
from support.hostile.ground import CORE, Ground
from support.hostile.pki import DAY, SECOND, authority, leaf, name

CLIENTS = "secrets/mtls/core-oem-clients.pem"
OWN, OWN_KEY = "secrets/mtls/metrics.pem", "secrets/mtls/metrics-key.pem"
UNKNOWN = "AUD-03 warn audit.setting_unknown"
PUBLIC_ROOT = name("ISRG Root X1", "Internet Security Research Group")


def _service(**changes: Any) -> Callable[[Ground], None]:
    """The metrics service with other settings of its TLS; None takes one out."""

    def edit(values: Any) -> None:
        tls = values["runtime"]["metrics_service"]["tls"]
        tls.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del tls[key]

    return lambda ground: ground.settings(edit)


def _without(of_bundle: str, **changes: Any) -> Callable[[Ground], None]:
    """As `_service`, and what the service would take from the bundle is taken out of it."""

    def spoil(ground: Ground) -> None:
        _service(**changes)(ground)
        ground.settings(lambda values: values["execution"]["mtls"].pop(of_bundle))

    return spoil


def _set(path: str, value: object) -> Callable[[Ground], None]:
    """One setting by its dotted path, added where there is none."""
    *above, last = path.split(".")

    def edit(values: Any) -> None:
        for key in above:
            values = values[int(key)] if isinstance(values, list) else values[key]
        values[last] = value

    return lambda ground: ground.settings(edit)


def _renamed(path: str, new: str) -> Callable[[Ground], None]:
    """A setting under a misspelt key."""
    *above, last = path.split(".")

    def edit(values: Any) -> None:
        for key in above:
            values = values[key]
        values[new] = values.pop(last)

    return lambda ground: ground.settings(edit)


def _believes(*others: Made, own: bool = True) -> Callable[[Ground], None]:
    """The service believes these too, or instead of the bundle's CA."""

    def spoil(ground: Ground) -> None:
        ground.put("clients", *([ground.pki.ca] if own else []), *others)
        _service(client_ca_path=CLIENTS)(ground)

    return spoil


def _pinned(*pins: str) -> Callable[[Ground], None]:
    return _service(pinned_fingerprints=list(pins))


def _fingerprint(ground: Ground, role: str) -> str:
    return ground.pki.of(role).certificate.fingerprint(hashes.SHA256()).hex()


def _pin_of(role: str, spell: Callable[[str], str] = lambda pin: f"sha256:{pin}") -> Callable[[Ground], None]:
    return lambda ground: _pinned(spell(_fingerprint(ground, role)))(ground)


def _own_certificate(*names: str, **changes: Any) -> Callable[[Ground], None]:
    """The service has a certificate of its own beside the bundle's."""

    def spoil(ground: Ground) -> None:
        made = leaf("server", ground.pki.ca, *names, **changes)
        certificate, key = made.write(ground.root / "secrets/mtls", "metrics")
        assert (str(certificate), str(key)) == (str(ground.root / OWN), str(ground.root / OWN_KEY))
        key.chmod(0o600)
        _service(certificate_path=OWN, private_key_path=OWN_KEY)(ground)

    return spoil


SERVICES: tuple[Case, ...] = (
    case("tls-off", "the metrics service speaks no TLS", _service(enabled=False), "TLS-01 fail audit.tls_off"),
    case(
        "tls-absent",
        "the metrics service says nothing of TLS",
        lambda g: g.settings(lambda v: v["runtime"]["metrics_service"].pop("tls")),
        "TLS-01 fail audit.tls_off",
    ),
    case(
        "tls-misspelt",
        "the switch of TLS is misspelt",
        _renamed("runtime.metrics_service.tls.enabled", "enabeld"),
        "TLS-01 fail audit.tls_off",
        UNKNOWN,
    ),
    case(
        "tls-no-client",
        "the metrics service asks for no client certificate",
        _service(require_client_auth=False),
        "TLS-01 fail audit.client_auth_off",
    ),
    case(
        "tls-client-misspelt",
        "the demand for a client certificate is misspelt",
        _renamed("runtime.metrics_service.tls.require_client_auth", "require_client_auht"),
        "TLS-01 fail audit.client_auth_off",
        UNKNOWN,
    ),
    case(
        "tls-no-certificate",
        "neither the metrics service nor the bundle names a certificate",
        _without("server_certificate", certificate_path=None),
        "TLS-01 fail exposure.tls_unfurnished",
    ),
    case(
        "tls-no-key",
        "neither the metrics service nor the bundle names a key",
        _without("server_key", private_key_path=None),
        "TLS-01 fail exposure.tls_unfurnished",
    ),
    case(
        "tls-certificate-missing",
        "the metrics service's certificate is not there",
        _service(certificate_path="secrets/mtls/other.pem"),
        "X509-01 fail files.missing",
    ),
    case(
        "tls-own-expired",
        "the metrics service's own certificate has expired",
        _own_certificate(ends=NOW - SECOND),
        "X509-07 fail cert.expired",
        "X509-04 fail security.chain_expired",
    ),
    case(
        "tls-own-elsewhere",
        "the metrics service's own certificate names another host",
        _own_certificate("desk.example"),
        "X509-04 fail security.chain_wrong_host",
    ),
    case(
        "tls-own-key-open",
        "the metrics service's own key may be read by all",
        lambda g: (_own_certificate()(g), (g.root / OWN_KEY).chmod(0o644)),
        "FS-01 fail audit.mode_open",
    ),
    case(
        "tls-other-host",
        "the metrics service is reached under a name that its certificate lacks",
        _set("runtime.metrics_service.host", "10.1.2.3"),
        "X509-04 fail security.chain_wrong_host",
    ),
    case(
        "believes-nobody",
        "no CA is set, neither for clients nor for the bundle",
        _without("ca_certificate", client_ca_path=None),
        "TLS-02 fail audit.client_ca_unset",
    ),
    case(
        "believes-missing",
        "the CA for clients is not there",
        _service(client_ca_path=CLIENTS),
        "TLS-02 fail files.missing",
    ),
    case(
        "believes-garbage",
        "the CA for clients is garbage",
        lambda g: (_believes()(g), (g.root / CLIENTS).write_bytes(b"cert")),
        "TLS-02 fail security.certificate_missing",
    ),
    case(
        "believes-directory",
        "the CA for clients is a directory",
        _service(client_ca_path="secrets/mtls"),
        "TLS-02 unknown files.unreadable",
    ),
    case(
        "believes-foreign-too",
        "the service believes a second CA",
        _believes(authority(name("Other CA"))),
        "TLS-02 fail audit.believes_foreign",
    ),
    case(
        "believes-foreign",
        "the service believes another CA",
        _believes(authority(name("Other CA")), own=False),
        "TLS-02 fail audit.believes_foreign",
    ),
    case(
        "believes-namesake",
        "the service believes another CA of the same name",
        _believes(authority(), own=False),
        "TLS-02 fail audit.believes_foreign",
    ),
    case(
        "believes-public",
        "the service believes a public root",
        _believes(authority(PUBLIC_ROOT)),
        "TLS-02 fail audit.believes_foreign",
    ),
    case(
        "believes-leaf",
        "the service believes its client itself",
        lambda g: _believes(g.pki.client)(g),
        "TLS-02 fail audit.believes_leaf",
    ),
    case(
        "believes-expired",
        "the service believes a CA that has ended",
        _believes(authority(name("Old CA"), ends=NOW - DAY)),
        "TLS-02 fail audit.believes_expired",
    ),
    case(
        "believes-key-too",
        "a key stands in the file of the CA for clients",
        lambda g: (
            _believes()(g),
            (g.root / CLIENTS).write_bytes((g.root / CLIENTS).read_bytes() + g.file("client-key").read_bytes()),
        ),
        "TLS-02 fail security.key_in_certificate_file",
    ),
    case(
        "believes-writable",
        "anybody may change the CA for clients",
        lambda g: (_believes()(g), (g.root / CLIENTS).chmod(0o666)),
        "FS-02 fail audit.writable",
    ),
    case(
        "believes-stray",
        "text stands in the file of the CA for clients",
        lambda g: (_believes()(g), (g.root / CLIENTS).write_bytes(b"desk\n" + (g.root / CLIENTS).read_bytes())),
        "TLS-02 fail cert.stray_text",
    ),
    case(
        "pin-other", "the pin is of another certificate", _pinned("sha256:" + "9" * 64), "TLS-03 fail audit.pin_differs"
    ),
    case("pin-client", "the pin is of the client", _pin_of("client"), "TLS-03 fail audit.pin_differs"),
    case("pin-ca", "the pin is of the CA", _pin_of("ca"), "TLS-03 fail audit.pin_differs"),
    case("pin-md5", "the pin is an MD5", _pinned("md5:" + "9" * 32), "TLS-03 fail audit.pin_malformed"),
    case("pin-sha1", "the pin is a SHA-1", _pinned("sha1:" + "9" * 40), "TLS-03 fail audit.pin_malformed"),
    case(
        "pin-cut",
        "the pin lacks an octet",
        _pin_of("server", lambda pin: f"sha256:{pin[2:]}"),
        "TLS-03 fail audit.pin_malformed",
    ),
    case(
        "pin-bare", "the pin lacks its algorithm", _pin_of("server", lambda pin: pin), "TLS-03 fail audit.pin_malformed"
    ),
    case("pin-empty", "the pin is empty", _pinned(""), "TLS-03 fail audit.pin_malformed"),
    case(
        "pin-one-malformed",
        "one of two pins is malformed",
        _pin_of("server", lambda pin: f"sha256:{pin}z"),
        "TLS-03 fail audit.pin_malformed",
    ),
    case(
        "bundle-other-name",
        "another bundle is asked for than the settings name",
        lambda g: None,
        "X509-02 fail audit.bundle_foreign",
        "ROT-02 fail audit.rotation_missing",
        flags=("--mtls-bundle-name", "desk-2"),
    ),
    case(
        "bundle-mixed",
        "the server is of another bundle",
        lambda g: _other_bundle(g),
        "X509-02 fail audit.bundle_foreign",
    ),
    case(
        "bundle-elsewhere",
        "the settings lead to a directory without a bundle",
        lambda g: g.settings(lambda v: v["execution"].update(mtls={"bundle_directory": "secrets/none"})),
        "X509-02 fail audit.bundle_incomplete",
    ),
    # misspelt demands
    case(
        "misspelt-crls",
        "the revocation lists are misspelt",
        _renamed("execution.mtls.crls", "crl"),
        "X509-14 warn audit.no_revocation",
        UNKNOWN,
    ),
    case(
        "misspelt-interval",
        "the interval of rotations is misspelt",
        _renamed("observability.key_rotation.default_interval_days", "default_intervall_days"),
        UNKNOWN,
    ),
    case(
        "misspelt-scopes",
        "a token's scopes are misspelt",
        lambda g: g.settings(lambda v: _rename(v["operations"]["service"]["rbac_tokens"][0], "scopes", "scope")),
        "RBAC-07 fail audit.no_scopes",
        UNKNOWN,
    ),
    case(
        "misspelt-tokens",
        "a service's tokens are misspelt",
        _renamed("operations.service.rbac_tokens", "rbac_token"),
        "RBAC-01 fail audit.no_token",
        UNKNOWN,
    ),
    case("misspelt-section", "a whole section is misspelt", _renamed("observability", "observabilty"), UNKNOWN),
    case("misspelt-execution", "the section with the bundle is misspelt", _renamed("execution", "executoin"), UNKNOWN),
    case(
        "unknown-key",
        "a setting that nobody reads",
        _set("runtime.metrics_service.tls.minimum_version", "TLSv1.3"),
        UNKNOWN,
    ),
)


def _rename(values: Any, old: str, new: str) -> None:
    values[new] = values.pop(old)


def _other_bundle(ground: Ground) -> None:
    for role in ("server", "server-key"):
        ground.file(role).rename(ground.root / f"secrets/mtls/desk-2-{role}.pem")

    def edit(values: Any) -> None:
        for section, names in (
            (values["execution"]["mtls"], ("server_certificate", "server_key")),
            (values["runtime"]["metrics_service"]["tls"], ("certificate_path", "private_key_path")),
        ):
            for key, role in zip(names, ("server", "server-key"), strict=True):
                section[key] = f"secrets/mtls/desk-2-{role}.pem"

    ground.settings(edit)


def _core(content: bytes) -> Callable[[Ground], object]:
    return lambda ground: (ground.root / CORE).write_bytes(content)


# Settings that nobody can read end with exit code 2 and one document that says why.
REFUSED: tuple[Case, ...] = tuple(
    case(f"settings-{row}", f"the settings: {what}", spoil, f"- error {code}")
    for row, what, spoil, code in (
        ("list", "a list", _core(b"- runtime\n"), "config.wrong_value"),
        ("empty", "an empty file", _core(b""), "config.wrong_value"),
        ("word", "one word", _core(b"runtime\n"), "config.wrong_value"),
        ("garbage", "garbage", _core(bytes(range(256))), "config.bad_yaml"),
        ("tab", "a tab", _core(b"runtime:\n\tmetrics_service: {}\n"), "config.bad_yaml"),
        ("cut-off", "cut off", _core(b"runtime: {metrics_service: {tls: {"), "config.bad_yaml"),
        ("aliases", "aliases of aliases", _core(b"a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n"), "config.bad_yaml"),
        ("nested", "nested without end", _core(b"[" * 20_000), "config.bad_yaml"),
        (
            "key-twice",
            "a section twice",
            lambda g: _core((g.root / CORE).read_bytes() + b"\nruntime: {}\n")(g),
            "config.bad_yaml",
        ),
        (
            "python",
            "an object of Python",
            _core(b"runtime: !!python/object/apply:os.system ['true']\n"),
            "config.wrong_value",
        ),
        (
            "tls-list",
            "a list in the place of TLS",
            _set("runtime.metrics_service.tls", ["enabled"]),
            "config.wrong_value",
        ),
        (
            "tls-word",
            "a word in the place of a switch",
            _set("runtime.metrics_service.tls.require_client_auth", "maybe"),
            "config.wrong_value",
        ),
        ("tls-null", "nothing in the place of TLS", _set("runtime.metrics_service.tls", None), "config.wrong_value"),
        (
            "tokens-mapping",
            "a mapping in the place of tokens",
            _set("operations.service.rbac_tokens", {"alertmanager": {}}),
            "config.wrong_value",
        ),
        (
            "scopes-word",
            "a word in the place of scopes",
            _set("operations.service.rbac_tokens.0.scopes", "alerts.write"),
            "config.wrong_value",
        ),
        (
            "interval-zero",
            "an interval of no days",
            _set("observability.key_rotation.default_interval_days", 0),
            "config.wrong_value",
        ),
        (
            "interval-negative",
            "an interval of less than no days",
            _set("observability.key_rotation.default_interval_days", -90),
            "config.wrong_value",
        ),
        (
            "interval-infinite",
            "an interval without end",
            _set("observability.key_rotation.default_interval_days", float("inf")),
            "config.wrong_value",
        ),
        (
            "interval-nan",
            "an interval that is no number",
            _set("observability.key_rotation.default_interval_days", float("nan")),
            "config.wrong_value",
        ),
        (
            "installation",
            "a kind of installation that nobody knows",
            _set("operations.installation", "prod"),
            "config.wrong_value",
        ),
        (
            "crls-word",
            "a word in the place of the revocation lists",
            _set("execution.mtls.crls", "secrets/mtls/core-oem.crl"),
            "config.wrong_value",
        ),
        (
            "path-nul",
            "a path with a character of value 0",
            _set("execution.mtls.server_key", "secrets/\0key"),
            "config.bad_yaml",
        ),
        (
            "escape",
            "a token whose id moves the cursor",
            _set("operations.service.rbac_tokens.0.token_id", "\x1b[2J"),
            "config.bad_yaml",
        ),
        ("escape-key", "a key that moves the cursor", _set("operations.service.\x1b[2J", 1), "config.bad_yaml"),
        (
            "escape-scope",
            "a scope that moves the cursor",
            _set("operations.service.rbac_tokens.0.scopes", ["\x1b[2J"]),
            "config.bad_yaml",
        ),
        (
            "directory",
            "a directory",
            lambda g: ((g.root / CORE).unlink(), (g.root / CORE).mkdir()),
            "config.not_an_installation",
        ),
    )
)
CASES = (*SERVICES, *REFUSED)
