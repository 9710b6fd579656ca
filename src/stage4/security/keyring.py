"""
The key ring of the decision log: which key ids exist, what they may sign, and where their secrets lie.

    {"schema": "stage4.keyring/1", "active": "ops-2026-11",
     "keys": [{"id": "ops-2026-11", "algorithm": "HMAC-SHA256", "created": "2026-11-23T09:42:01Z",
               "state": "active", "fingerprint": "f3c1…", "secret_file": "ops-2026-11.key"}]}

A key may also have `logs` (the only log ids that it may sign), `retired`, `revoked` (instants) and `reason`; no
other member. The ring lists ids and fingerprints, never secrets: a secret is at least 32 random bytes in base64, in
a file beside the ring (mode 0600) or in an environment variable. One secret never signs two things: every purpose
and every log gets its own key by HKDF-SHA256 (RFC 5869), and no secret stands under two ids.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path

from stage4 import files, ids
from stage4.clock import format_instant, parse_instant
from stage4.errors import Conflict, Unavailable, UsageError

SCHEMA = "stage4.keyring/1"
SECRET_BYTES = 32
LIMIT = 1 << 20
_SECRET_LIMIT = 4096
# The id stands unescaped in every line and, as `hmac:<id>`, in a field whose pattern knows no other characters.
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_INFO = b"stage4-decision-log/v3"
_SOURCES = frozenset(("secret_file", "secret_env"))
_OPTIONAL = frozenset(("logs", "retired", "revoked", "reason"))
_MEMBERS = frozenset(("id", "algorithm", "created", "state", "fingerprint")) | _SOURCES | _OPTIONAL


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A way to sign: hashlib's name of the hash, its block and its digest in bytes."""

    name: str
    hash_name: str
    block: int
    size: int


ALGORITHMS: Mapping[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (Algorithm("HMAC-SHA256", "sha256", 64, 32), Algorithm("HMAC-SHA384", "sha384", 128, 48))
}
DEFAULT_ALGORITHM = "HMAC-SHA256"


class KeyState(Enum):
    """`active` and `retired` keys verify; a `revoked` key proves nothing any more."""

    ACTIVE = "active"
    RETIRED = "retired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Key:
    """One key id of the ring; its algorithm is fixed for good.

    `source` is the file with its secret, or the name of the variable. `logs` names the only logs it may sign; None
    means any. `retired` and `revoked` are the instants where the ring
    says them, `reason` is what the administrator gave for the last of the two.
    """

    id: str
    algorithm: str
    created: datetime
    state: KeyState
    fingerprint: str
    source: Path | str = field(repr=False)
    logs: frozenset[str] | None = None
    retired: datetime | None = None
    revoked: datetime | None = None
    reason: str | None = None
    _secret: bytes | None = field(default=None, repr=False)
    _absence: Unavailable | None = field(default=None, repr=False)

    @property
    def available(self) -> bool:
        """Whether the secret could be read when the ring was loaded."""
        return self._secret is not None

    def may_sign(self, log_id: str) -> bool:
        """Whether the ring allows this key for `log_id`."""
        return self.logs is None or log_id in self.logs

    def secret_for(self, purpose: str, log_id: str) -> bytes:
        """The key for `purpose` in `log_id`, as many bytes as the algorithm's digest.

        Raises Unavailable where the secret could not be read.
        """
        if self._secret is None:
            raise self._absence or Unavailable("keyring.secret_missing", key_id=self.id, source="?", reason="?")
        info = b"\0".join((_INFO, purpose.encode("ascii"), log_id.encode("ascii"), self.id.encode("ascii")))
        return hkdf_sha256(self._secret, info, ALGORITHMS[self.algorithm].size)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys by id, and the one that starts a new log; `environ` is where secrets were looked for."""

    path: Path
    active: str
    keys: Mapping[str, Key]
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, path: Path, environ: Mapping[str, str]) -> KeyRing:
        """Read the ring and the secrets it names.

        A secret that cannot be read is not an error here: its key says so when it is asked. Raises Unavailable
        `files.*` when the ring itself cannot be read, UsageError `keyring.malformed` when it is no key ring.
        """
        return cls.read(path, files.read_json(path, LIMIT), environ)

    @classmethod
    def read(cls, path: Path, document: object, environ: Mapping[str, str]) -> KeyRing:
        """The ring that `document` spells, as if it stood at `path`."""
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise _malformed(path, f'expected "schema": "{SCHEMA}"')
        if foreign := document.keys() - {"schema", "active", "keys"}:
            raise _malformed(path, f"{min(foreign)}: not a member of a key ring")
        listed = document.get("keys")
        if not isinstance(listed, list):
            raise _malformed(path, "keys: expected a list")
        keys: dict[str, Key] = {}
        owners: dict[str, str] = {}
        for position, facts in enumerate(listed):
            where = f"keys[{position}]"
            key = _key(path, where, facts, environ)
            if key.id in keys:
                raise _malformed(path, f"{where}: id {key.id} stands twice")
            if key.fingerprint in owners:
                raise _malformed(path, f"{where}.fingerprint: the secret of key {owners[key.fingerprint]} once more")
            keys[key.id], owners[key.fingerprint] = key, key.id
        active = document.get("active")
        if not isinstance(active, str) or active not in keys or keys[active].state is not KeyState.ACTIVE:
            raise _malformed(path, "active: expected the id of a key in state active")
        return cls(path, active, keys, environ)

    def reloaded(self) -> KeyRing:
        """The ring as it stands on the disk now: another process may have added a key."""
        return KeyRing.load(self.path, self.environ)

    def active_key(self) -> Key:
        """The key that a new log starts with."""
        return self.keys[self.active]

    def key(self, key_id: str) -> Key | None:
        """The key of that id, or None where the ring does not list it."""
        return self.keys.get(key_id)


def hkdf_sha256(secret: bytes, info: bytes, length: int = 32) -> bytes:
    """`length` bytes of RFC 5869 without salt."""
    # By hand, so that a short command need not load the wrapper of OpenSSL.
    extracted = hmac.digest(bytes(32), secret, "sha256")
    block = derived = hmac.digest(extracted, info + b"\x01", "sha256")
    for number in range(2, -(-length // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes((number,)), "sha256")
        derived += block
    return derived[:length]


def is_key_id(text: str) -> bool:
    """Whether a key can be called so."""
    return _KEY_ID.fullmatch(text) is not None


def fingerprint(secret: bytes) -> str:
    """Names a secret without giving it away: the first 8 bytes of SHA-256("stage4-kid" ‖ secret), in hexadecimal."""
    return hashlib.sha256(b"stage4-kid" + secret).hexdigest()[:16]


def create_keyring(path: Path, now: datetime, algorithm: str = DEFAULT_ALGORITHM) -> KeyRing:
    """Make a ring with one new active key beside it (both 0600) and return it loaded.

    Raises Conflict `keyring.exists` where there is a ring already; a ring is never overwritten.
    """
    if path.exists():
        raise Conflict("keyring.exists", path=path)
    key_id = f"ops-{now:%Y-%m}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        ring = {"schema": SCHEMA, "active": key_id, "keys": [new_key(path, key_id, algorithm, now)]}
        if not files.exclusive_write(path, files.json_bytes(ring), 0o600):
            raise Conflict("keyring.exists", path=path)
    except OSError as error:
        raise Unavailable("files.cannot_write", path=path, reason=files.reason(error)) from error
    return KeyRing.load(path, {})


def new_key(ring: Path, key_id: str, algorithm: str, now: datetime) -> dict[str, object]:
    """Put a new secret beside `ring` (0600) and return the member of `keys` that lists it.

    A secret that is there already is left by an interrupted start: it has signed nothing yet, so it serves. Raises
    Conflict `keyring.secret_in_the_way` where that file is no secret, and OSError itself.
    """
    secret_path = ring.with_name(f"{key_id}.key")
    text = base64.b64encode(ids.random_bytes(SECRET_BYTES)) + b"\n"
    if not files.exclusive_write(secret_path, text, 0o600):
        text = files.read_limited(secret_path, _SECRET_LIMIT)
    secret = _decoded(text.decode("ascii", "replace"))
    if secret is None:
        raise Conflict("keyring.secret_in_the_way", path=secret_path)
    return {
        "id": key_id,
        "algorithm": algorithm,
        "created": format_instant(now.replace(microsecond=0)),
        "state": KeyState.ACTIVE.value,
        "fingerprint": fingerprint(secret),
        "secret_file": secret_path.name,
    }


def _malformed(path: Path, reason: str) -> UsageError:
    return UsageError("keyring.malformed", path=path, reason=reason)


def _key(path: Path, where: str, facts: object, environ: Mapping[str, str]) -> Key:
    if not isinstance(facts, dict):
        raise _malformed(path, f"{where}: expected an object")
    if foreign := facts.keys() - _MEMBERS:
        raise _malformed(path, f"{where}.{min(foreign)}: not a member of a key")

    def text(name: str) -> str:
        value = facts.get(name)
        if not isinstance(value, str):
            raise _malformed(path, f"{where}.{name}: expected a text")
        return value

    def instant(name: str) -> datetime:
        try:
            return parse_instant(text(name))
        except UsageError:
            raise _malformed(path, f"{where}.{name}: expected an instant such as 2026-11-23T09:42:01Z") from None

    key_id, algorithm, expected = text("id"), text("algorithm"), text("fingerprint")
    if not is_key_id(key_id):
        raise _malformed(path, f"{where}.id: expected 1 to 64 letters, digits, - or _")
    if algorithm not in ALGORITHMS:
        raise _malformed(path, f"{where}.algorithm: expected {' or '.join(ALGORITHMS)}")
    if _FINGERPRINT.fullmatch(expected) is None:
        raise _malformed(path, f"{where}.fingerprint: expected 16 hexadecimal digits")
    try:
        state = KeyState(text("state"))
    except ValueError:
        raise _malformed(path, f"{where}.state: expected active, retired or revoked") from None
    logs = facts.get("logs")
    if logs is not None and not (isinstance(logs, list) and all(isinstance(log, str) for log in logs)):
        raise _malformed(path, f"{where}.logs: expected a list of log ids")
    if ("secret_file" in facts) == ("secret_env" in facts):
        raise _malformed(path, f"{where}: expected exactly one of secret_file and secret_env")
    member = "secret_file" if "secret_file" in facts else "secret_env"
    name = text(member)
    # Neither NUL nor half a surrogate pair, which no file and no variable can be called.
    if not name.isprintable() or not name:
        raise _malformed(path, f"{where}.{member}: expected a name in printable characters")
    source: Path | str = path.parent / name if member == "secret_file" else name
    secret, absence = None, None
    try:
        content = _from_file(key_id, source) if isinstance(source, Path) else environ.get(source)
        secret = _checked(key_id, name, content, expected)
    except Unavailable as error:
        absence = error
    return Key(
        key_id,
        algorithm,
        instant("created"),
        state,
        expected,
        source,
        None if logs is None else frozenset(logs),
        instant("retired") if "retired" in facts else None,
        instant("revoked") if "revoked" in facts else None,
        text("reason") if "reason" in facts else None,
        secret,
        absence,
    )


def _from_file(key_id: str, path: Path) -> str:
    try:
        return files.read_limited(path, _SECRET_LIMIT).decode("ascii", "replace")
    except Unavailable as error:
        raise Unavailable(
            "keyring.secret_missing", key_id=key_id, source=path, reason=error.params.get("reason", error.code)
        ) from error


def _checked(key_id: str, source: str, content: str | None, expected: str) -> bytes:
    if content is None:
        raise Unavailable("keyring.secret_missing", key_id=key_id, source=source, reason="not set")
    secret = _decoded(content)
    if secret is None:
        raise Unavailable("keyring.secret_malformed", key_id=key_id, source=source, least=SECRET_BYTES)
    if not hmac.compare_digest(fingerprint(secret), expected):
        raise Unavailable("keyring.secret_differs", key_id=key_id, source=source)
    return secret


def _decoded(text: str) -> bytes | None:
    """The secret in `text` (base64, either alphabet, padding optional); None where it is none or too short."""
    plain = text.strip().translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        secret = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return secret if len(secret) >= SECRET_BYTES else None
