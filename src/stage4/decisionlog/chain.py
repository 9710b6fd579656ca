"""
What links and seals the lines.

    line n = canonical payload without its last brace ‖ ,"signature":{"algorithm":…,"key_id":…,"value":…}}
    prev   = base64(SHA-256(00 ‖ line n-1 without LF)), which is also the RFC 6962 leaf hash of that line
    prev of the first entry = base64(SHA-256("stage4-decision-log/v3" LF ‖ log_id))
    value  = base64(HMAC(key for this purpose, log and id, payload)): 44 characters for SHA-256, 64 for SHA-384

The signature has a constant shape at the end of the line, so a reader authenticates bytes before it parses them.
A chain cannot show that entries were cut from its end: only a checkpoint kept elsewhere can.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from binascii import b2a_base64
from collections.abc import Sequence
from hmac import compare_digest
from typing import TYPE_CHECKING

from stage4.security.keyring import ALGORITHMS, Key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hmac import HMAC

ENTRY_PURPOSE = "entry"
_END = b'"}}'
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def leaf_digest(line: bytes) -> str:
    """The RFC 6962 leaf hash of a line (without LF), in base64: the next line's `prev`."""
    return b2a_base64(hashlib.sha256(b"\0" + line).digest(), newline=False).decode("ascii")


def genesis_prev(log_id: str) -> str:
    """The `prev` of the first entry of `log_id`."""
    return b64encode(hashlib.sha256(f"stage4-decision-log/v3\n{log_id}".encode("ascii")).digest()).decode("ascii")


class Sealer:
    """Signs and opens the entries of one log under one key id; raises Unavailable where the secret is missing."""

    __slots__ = ("_inner", "_many", "_outer", "_secret", "_size", "_tail", "_tail_length", "key_id", "log_id")

    def __init__(self, key: Key, log_id: str) -> None:
        self.key_id = key.id
        self.log_id = log_id
        algorithm = ALGORITHMS[key.algorithm]
        self._secret = key.secret_for(ENTRY_PURPOSE, log_id)
        self._size = algorithm.size
        # HMAC (RFC 2104) with both padded keys hashed once: twice as fast as hmac.digest on a line.
        padded = self._secret.ljust(algorithm.block, b"\0")
        self._inner = hashlib.new(algorithm.hash_name, padded.translate(_INNER))
        self._outer = hashlib.new(algorithm.hash_name, padded.translate(_OUTER))
        self._many: HMAC | None = None
        self._tail = signature_tail(key.algorithm, key.id)
        self._tail_length = len(self._tail) + value_length(key.algorithm) + len(_END)

    def seal(self, payload: bytes) -> bytes:
        """The line (without LF) for a canonical payload."""
        return payload[:-1] + self._tail + self._value(payload) + _END

    def open(self, line: bytes) -> bytes | None:
        """The payload of a line that this key signed, byte for byte; None for any other line."""
        payload = line[: -self._tail_length] + b"}"
        signature = self._tail + self._value(payload) + _END
        return payload if compare_digest(signature, line[-self._tail_length :]) else None

    def open_all(self, lines: Sequence[bytes]) -> list[bytes | None]:
        """`open` of each line, a fifth faster where all of them are this key's, once OpenSSL's wrapper is loaded."""
        if self._many is None:
            from cryptography.hazmat.primitives.hashes import SHA256, SHA384
            from cryptography.hazmat.primitives.hmac import HMAC

            self._many = HMAC(self._secret, SHA384() if self._size == 48 else SHA256())
        begun, length = self._many.copy, self._tail_length
        payloads: list[bytes | None] = []
        values = []
        for line in lines:
            payload = line[:-length] + b"}"
            mac = begun()
            mac.update(payload)
            values.append(b2a_base64(mac.finalize(), newline=False))
            payloads.append(payload)
        # Every signature is cut to one length, so all of them agree only where each does.
        signatures = self._tail + (_END + self._tail).join(values) + _END
        if compare_digest(signatures, b"".join([line[-length:] for line in lines])):
            return payloads
        return [self.open(line) for line in lines]

    def _value(self, payload: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(payload)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return b2a_base64(outer.digest(), newline=False)


def value_length(algorithm: str) -> int:
    """The characters of a signature's value."""
    return -(-ALGORITHMS[algorithm].size // 3) * 4


def signature_tail(algorithm: str, key_id: str) -> bytes:
    """What stands between the payload and the signature's value."""
    return f',"signature":{{"algorithm":"{algorithm}","key_id":"{key_id}","value":"'.encode("ascii")


def split_signature(line: bytes, algorithm: str, key_id: str) -> bytes | None:
    """The payload of a line whose signature has the right shape, its value unjudged; None for another shape.

    `algorithm` is one of `keyring.ALGORITHMS`.
    """
    tail = signature_tail(algorithm, key_id)
    start = len(line) - len(tail) - value_length(algorithm) - len(_END)
    if start < 1 or not line.startswith(tail, start) or not line.endswith(_END):
        return None
    return line[:start] + b"}"
