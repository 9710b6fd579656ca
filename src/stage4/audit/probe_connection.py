"""
One connection of a probe: show something, and see whether the service greets us or turns us away.

TLS 1.3 hides a refusal: our handshake is finished before the server has looked at our certificate (RFC 8446 4.4.2),
and only the next read shows what it thinks of it. So the question is never whether the handshake succeeded but
whether the server's HTTP/2 SETTINGS frame came (RFC 9113 3.4). ALPN `h2` is always offered (RFC 7301), because a
gRPC server turns everybody away who does not.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from stage4.audit.evidence import Problem
from stage4.audit.evidence_live import (
    ALERT,
    EOF,
    NOT_OFFERED,
    NOT_TRIED,
    OTHER,
    PLAINTEXT,
    REFUSED,
    RESET,
    SETTINGS,
    TIMEOUT,
    UNREACHABLE,
    UNTRUSTED,
    Attempt,
    ServedLeaf,
)
from stage4.clock import Clock

# The client's preface with an empty SETTINGS frame.
_GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FRAME_HEADER: Final = 9
_SETTINGS_TYPE, _ALERT_RECORD, _ALERT_LENGTH = 4, 0x15, 7
# The alerts of RFC 8446 6 that a TLS server sends to one who does not speak TLS.
_ALERTS: Final = {
    10: "unexpected_message",
    22: "record_overflow",
    40: "handshake_failure",
    50: "decode_error",
    70: "protocol_version",
    80: "internal_error",
}
_VERSIONS: Final = {
    "TLSv1": "TLSv1",
    "TLSv1.1": "TLSv1_1",
    "TLSv1.2": "TLSv1_2",
    "TLSv1.3": "TLSv1_3",
}
_CANNOT_SPEAK: Final = frozenset({"NO_PROTOCOLS_AVAILABLE", "NO_CIPHERS_AVAILABLE"})
Address = Any  # of the socket module


@dataclass(frozen=True, slots=True)
class Offer:
    """What a connection shows; `pair` is certificate and key, `trusted` makes it verify the server's certificate."""

    shown: str
    protocol: str
    pair: tuple[Path, Path] | None = None
    trusted: Path | None = None
    problem: Problem | None = None  # why it cannot be shown


def resolve(host: str, port: int, seconds: float) -> list[Address]:
    """The TCP addresses of `host`, none where the resolver does not know it or has not answered in time."""
    found: list[Address] = []

    def ask() -> None:
        with suppress(OSError, UnicodeError):
            found.extend(entry[4] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    # The resolver takes no time limit, so it is left behind where it is too slow.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return list(found)


def attempt(offer: Offer, host: str, addresses: list[Address], clock: Clock, seconds: float) -> Attempt:
    """One connection within `seconds`; whatever happens is its outcome."""
    if offer.problem is not None:
        return Attempt(offer.shown, offer.protocol, NOT_TRIED, problem=offer.problem)
    stop = Deadline(clock, seconds)
    tried = _Tried(Attempt(offer.shown, offer.protocol, UNREACHABLE))
    try:
        with ExitStack() as stack:
            _converse(offer, host, addresses, stop, tried, stack)
    except TimeoutError:
        tried.came_back(TIMEOUT)
    except ssl.SSLCertVerificationError as error:
        tried.came_back(UNTRUSTED, error.verify_message)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        tried.came_back(EOF)
    except ssl.SSLError as error:
        tried.came_back(_spelled(error.reason or ""), error.reason or "")
    except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError):
        tried.came_back(RESET)
    except ConnectionRefusedError:
        tried.came_back(REFUSED)
    except OSError as error:
        tried.came_back(UNREACHABLE, error.strerror or "")
    return replace(tried.attempt, milliseconds=stop.spent_milliseconds)


@dataclass(slots=True)
class Deadline:
    """A limit of `seconds` from now."""

    clock: Clock
    seconds: float
    began: int = 0

    def __post_init__(self) -> None:
        self.began = self.clock.monotonic_ns()

    @property
    def left(self) -> float:
        """Seconds; raises TimeoutError where none are left."""
        left = self.seconds - (self.clock.monotonic_ns() - self.began) / 1e9
        if left <= 0:
            raise TimeoutError
        return left

    @property
    def spent_milliseconds(self) -> float:
        return round((self.clock.monotonic_ns() - self.began) / 1e6, 1)


@dataclass(slots=True)
class _Tried:
    attempt: Attempt

    def came_back(self, outcome: str, detail: str = "") -> None:
        self.attempt = replace(self.attempt, outcome=outcome, detail=detail)


def _converse(
    offer: Offer, host: str, addresses: list[Address], stop: Deadline, tried: _Tried, stack: ExitStack
) -> None:
    context = None
    if offer.protocol != PLAINTEXT:
        try:
            context = _context(offer)
        except (ssl.SSLError, OSError, ValueError) as error:
            path = offer.trusted or (offer.pair[0] if offer.pair else None)
            params = {"path": path.name if path else "-", "reason": _reason(error)}
            problem = Problem("probe.pair_unusable", params, undecided=True)
            tried.attempt = replace(tried.attempt, outcome=NOT_TRIED, problem=problem)
            return
    stream = stack.enter_context(_connected(context, host, addresses, stop))
    if isinstance(stream, ssl.SSLSocket):
        stream.settimeout(stop.left)
        stream.do_handshake()
        leaf = stream.getpeercert(binary_form=True)
        tried.attempt = replace(tried.attempt, negotiated=stream.version(), served=_served(leaf) if leaf else None)
    # A peer that has already turned us away takes nothing more, but what it said is still there to read.
    stream.settimeout(stop.left)
    with suppress(OSError):
        stream.sendall(_GREETING)
    tried.came_back(_judged(_answer(stream, stop), plain=context is None))


def _connected(context: ssl.SSLContext | None, host: str, addresses: list[Address], stop: Deadline) -> socket.socket:
    """The first address that takes us, the handshake still to be made; raises what the last one said."""
    last: OSError = OSError()
    for address in addresses:
        stream = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Wrapped before it is connected: the ssl module loses a socket that is reset in between.
            if context is not None:
                stream = context.wrap_socket(stream, server_hostname=host, do_handshake_on_connect=False)
            stream.settimeout(stop.left)
            stream.connect(address)
        except OSError as error:
            stream.close()
            last = error
        else:
            return stream
    raise last


def _answer(stream: socket.socket, stop: Deadline) -> bytes:
    """The first bytes, at most a frame's header; an answer that breaks off is given as far as it came."""
    received = b""
    while len(received) < _FRAME_HEADER:
        try:
            stream.settimeout(stop.left)
            piece = stream.recv(_FRAME_HEADER - len(received))
        except TimeoutError:
            raise
        except OSError:
            if not received:
                raise
            break
        if not piece:
            break
        received += piece
    return received


def _judged(received: bytes, *, plain: bool) -> str:
    if not received:
        return EOF
    if plain and len(received) >= _ALERT_LENGTH and received[0] == _ALERT_RECORD and received[1] == 3:
        code = received[_ALERT_LENGTH - 1]
        return f"{ALERT}{_ALERTS.get(code, code)}"
    if len(received) == _FRAME_HEADER:
        length, kind, flags, stream_id = received[:3], received[3], received[4], received[5:]
        if kind == _SETTINGS_TYPE and not flags and not any(stream_id) and int.from_bytes(length) % 6 == 0:
            return SETTINGS
    return OTHER


def _spelled(reason: str) -> str:
    """OpenSSL's name of what went wrong as an outcome: `TLSV13_ALERT_CERTIFICATE_REQUIRED` is an alert."""
    _, alert, name = reason.partition("_ALERT_")
    if alert:
        return f"{ALERT}{name.lower()}"
    return NOT_OFFERED if reason in _CANNOT_SPEAK else OTHER


def _context(offer: Offer) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # We look at bad servers too: their certificate is evidence, and old versions need old algorithms.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.check_hostname = offer.trusted is not None
    context.verify_mode = ssl.CERT_REQUIRED if offer.trusted else ssl.CERT_NONE
    if offer.trusted is not None:
        context.load_verify_locations(offer.trusted)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    version = ssl.TLSVersion[_VERSIONS[offer.protocol]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    if offer.pair is not None:
        certificate, key = offer.pair
        # Without a password of ours OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password="")
    return context


def _served(der: bytes) -> ServedLeaf:
    fingerprint = hashlib.sha256(der).hexdigest()
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return ServedLeaf(fingerprint, None, None)
    return ServedLeaf(fingerprint, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "unusable"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
