"""The headers that a watch sends: where each comes from, which one wins, and how they are shown.

Layers from lowest to highest: configuration, environment, files in the order given, command line. The highest wins
by key; `key=none` removes what lower layers set and nothing above it. In a value, `@env:NAME` and `@file:PATH` are
read from there and `@@` begins a literal `@`. Keys that end in `-bin` carry base64.

Values are masked unless their key is listed as harmless and they do not look like a secret. A masked value shows a
fingerprint under a key that is thrown away after the watch: two of them can be compared, none can be guessed.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stage4 import files
from stage4.errors import Unavailable, UsageError
from stage4.telemetry.admission import ECHO_HEADER, NONCE_HEADER, fingerprint

HARMLESS_KEYS = frozenset(
    {"x-stage4-client", "x-stage4-purpose", "x-environment", "x-installation", "x-incident", "x-region", "x-team"}
)
SHOWN_LENGTH = 80
FILE_LIMIT = 64 * 1024
MASK = "<masked>"
# gRPC itself adds these; everything else that we did not send came from somewhere between.
TRANSPORT_KEYS = frozenset(
    {"user-agent", "te", "content-type", "grpc-accept-encoding", "grpc-timeout", "grpc-encoding"}
)
_KEY = re.compile(r"[0-9a-z._-]+")
_NEXT_ENTRY = re.compile(r";\s*(?=[0-9A-Za-z._-]+\s*=)|\n")
_SECRET = re.compile(
    r"(?i)^(bearer|basic|token|apikey)\s|^[\w-]{8,}\.[\w-]{8,}\.[\w-]*$|-----BEGIN|^(gh[a-z]_|xox[a-z]-|AKIA|sk-)"
)
_LONG_WORD = re.compile(r"[A-Za-z0-9+/=_-]{16,}")
_SECRET_BITS = 3.2


@dataclass(frozen=True, slots=True)
class Header:
    """One header and where it comes from; `value` None removes the key."""

    key: str
    value: str | bytes | None = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What is sent, who lost to whom, and what was taken out."""

    headers: tuple[Header, ...]
    overridden: tuple[tuple[Header, Header], ...] = ()
    removed: tuple[Header, ...] = ()

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return tuple((header.key, header.value) for header in self.headers if header.value is not None)


def split_entries(text: str) -> list[str]:
    """The entries of an environment variable: separated by new lines, or by `;` before the next `key=`."""
    return [entry.strip() for entry in _NEXT_ENTRY.split(text) if entry.strip()]


def read_file(path: Path) -> list[str]:
    """The entries of a header file: one a line; blank lines and lines that begin with # are passed over."""
    text = files.read_limited(path, FILE_LIMIT).decode("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def parse(entries: Iterable[str], source: str, environ: Mapping[str, str], root: Path) -> list[Header]:
    """Headers of `key=value` entries; UsageError `watch.header_*`, Unavailable for a value that cannot be read."""
    parsed = []
    for entry in entries:
        key, separator, value = entry.partition("=")
        if not separator:
            raise UsageError("watch.header_malformed", source=source)
        parsed.append(header(key, value, source, environ, root))
    return parsed


def header(key: str, value: str, source: str, environ: Mapping[str, str], root: Path) -> Header:
    """One header from its written form."""
    name, written = key.strip().lower(), value.strip()
    if not _KEY.fullmatch(name) or name.startswith("grpc-") or name == NONCE_HEADER:
        raise UsageError("watch.header_key", key=key.strip(), source=source)
    if written.lower() in ("none", "null"):
        return Header(name, None, source)
    resolved, source = _resolved(written, source, environ, root)
    if name.endswith("-bin"):
        try:
            return Header(name, base64.b64decode(resolved, validate=True), source)
        except binascii.Error:
            raise UsageError("watch.header_value", key=name, source=source) from None
    if not resolved.isascii() or not resolved.isprintable():
        raise UsageError("watch.header_value", key=name, source=source)
    return Header(name, resolved, source)


def _resolved(value: str, source: str, environ: Mapping[str, str], root: Path) -> tuple[str, str]:
    kind, _, name = value.partition(":")
    if value.startswith("@@"):
        return value[1:], source
    if kind == "@env":
        if name not in environ:
            raise Unavailable("watch.header_env_missing", name=name, source=source)
        return environ[name].strip(), f"{source}@env:{name}"
    if kind == "@file":
        return files.read_limited(root / name, FILE_LIMIT).decode("utf-8", "replace").strip(), f"{source}@file:{name}"
    return value, source


def merge(layers: Sequence[Sequence[Header]]) -> Merged:
    """Join layers given from lowest to highest; inside a layer the later entry wins."""
    winning: dict[str, Header] = {}
    overridden: list[tuple[Header, Header]] = []
    removed: list[Header] = []
    for layer in layers:
        for one in layer:
            loser = winning.pop(one.key, None)
            if one.value is None:
                if loser is not None:
                    removed.append(replace(loser, source=f"{loser.source} by {one.source}"))
                continue
            if loser is not None:
                overridden.append((loser, one))
            winning[one.key] = one
    return Merged(tuple(winning.values()), tuple(overridden), tuple(removed))


def looks_secret(value: str) -> bool:
    """True for bearer values, JWTs, PEM, known token prefixes, and long words of high entropy."""
    if _SECRET.search(value):
        return True
    return any(_entropy(word) > _SECRET_BITS and not word.isalpha() for word in _LONG_WORD.findall(value))


def _entropy(word: str) -> float:
    """Shannon entropy in bits for each character."""
    return -sum(n / len(word) * math.log2(n / len(word)) for n in Counter(word).values())


def shown(one: Header, key: bytes) -> dict[str, object]:
    """One header as the report shows it; masked by default, without the length of what is masked."""
    binary = isinstance(one.value, bytes)
    facts: dict[str, object] = {"key": one.key, "type": "binary" if binary else "text"}
    visible = isinstance(one.value, str) and one.key in HARMLESS_KEYS and not looks_secret(one.value)
    if visible and isinstance(one.value, str):
        truncated = len(one.value) > SHOWN_LENGTH
        preview = one.value[: SHOWN_LENGTH - 3] + "..." if truncated else one.value
        facts |= {"value_preview": preview, "length": len(one.value), "masked": False, "truncated": truncated}
    else:
        facts |= {"value_preview": MASK, "length": None, "masked": True, "truncated": False}
    return facts | {"fingerprint": fingerprint(key, one.value or ""), "source": one.source}


def report(merged: Merged, key: bytes) -> dict[str, object]:
    """The header part of the watch's document; `key` is of this one watch and recorded nowhere."""
    return {
        "headers_disabled": not merged.headers,
        "headers_count": len(merged.headers),
        "headers": [shown(one, key) for one in merged.headers],
        "removed": [{"key": one.key, "source": one.source} for one in merged.removed],
        "removed_count": len(merged.removed),
        "overridden": [
            {
                "key": loser.key,
                "source": loser.source,
                "by": winner.source,
                "fingerprint": fingerprint(key, loser.value or ""),
                "same_value": loser.value == winner.value,
            }
            for loser, winner in merged.overridden
        ],
    }


def received(merged: Merged, answer: Iterable[tuple[str, str | bytes]], key: bytes) -> list[dict[str, object]]:
    """What the server says it received, compared with what was sent, one entry a header.

    `as_sent` is None where the server received a header that is no header of ours.
    """
    pairs = [str(value).rpartition("=") for name, value in answer if name == ECHO_HEADER]
    arrived: dict[str, list[str]] = {}
    for name, _, digest in pairs:
        arrived.setdefault(name, []).append(digest)
    entries: list[dict[str, object]] = []
    for one in merged.headers:
        digests = arrived.pop(one.key, [])
        as_sent = digests == [fingerprint(key, one.value or "")]
        entries.append({"key": one.key, "received": bool(digests), "as_sent": as_sent, "fingerprints": digests})
    for name, digests in sorted(arrived.items()):
        entries.append(
            {
                "key": name,
                "received": True,
                "as_sent": None,
                "fingerprints": digests,
                "added_by": "transport" if name in TRANSPORT_KEYS else "unknown",
            }
        )
    return entries


def arrived_right(entries: Sequence[Mapping[str, object]]) -> bool:
    """True when every header we sent arrived as sent, and only the transport added some."""
    return bool(entries) and all(
        entry["as_sent"] is True if entry["as_sent"] is not None else entry.get("added_by") == "transport"
        for entry in entries
    )
