"""
Enabling: an order that two people sign over the very stop in place.

`prepare` → two signatures → `submit` writes `var/runtime/overrides/enable_<nonce>.json`; only the scheduler verifies
it (`verify_order`) and releases the stop. It fails closed: an order that cannot be verified changes nothing. What it
cannot see: whether the two people talked to each other, and whether a key is still only its owner's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from stage4 import files, ids
from stage4.clock import Clock, format_instant
from stage4.errors import Conflict, Refused, Unavailable
from stage4.runtime.latch import GATE_FILE, Latch, read_latch
from stage4.runtime.state import Instant, decode, encode
from stage4.runtime.stop import ALL, ORDER_PREFIX, OVERRIDES, read_stop

if TYPE_CHECKING:
    from stage4.security.people import People

SCHEMA: Literal["stage4.enable/1"] = "stage4.enable/1"
ORDER_SCHEMA: Literal["stage4.enable_order/1"] = "stage4.enable_order/1"
ROLE = "incident_manager"
REFUSED = "refused"
"""The directory, beside the stops, of the orders that were refused."""
LIMIT = 64 * 1024
LIFETIME = timedelta(hours=24)
"""An order nobody carried out in this time is no longer what its signers meant."""
CLOCK_SKEW = timedelta(minutes=5)


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What both people sign: this stop, by name and digest, in this installation, once."""

    schema: Literal["stage4.enable/1"] = SCHEMA
    stop: str
    stop_digest: str
    installation_id: str
    requested_at: Instant
    nonce: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{16,64}$")]

    @property
    def message(self) -> bytes:
        """The canonical JSON that is signed in namespace `stage4-enable`."""
        from stage4.decisionlog.canonical import canonical

        return canonical(
            {
                "schema": self.schema,
                "stop": self.stop,
                "stop_digest": self.stop_digest,
                "installation_id": self.installation_id,
                "requested_at": format_instant(self.requested_at),
                "nonce": self.nonce,
            }
        )


class OrderSignature(msgspec.Struct, frozen=True):
    """A person's id and armored SSHSIG signature."""

    signer: str
    signature: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A statement with its signatures; with fewer than two it waits."""

    schema: Literal["stage4.enable_order/1"] = ORDER_SCHEMA
    statement: Statement
    signatures: tuple[OrderSignature, ...] = ()


def prepare(root: Path, file_name: str = ALL.file_name, *, clock: Clock) -> Statement:
    """The statement that would enable the stop `file_name`.

    Raises Refused `gate.nothing_to_enable` where nothing of that name is stopped, Unavailable or UsageError where
    the gate's memory cannot be read.
    """
    latch = read_latch(root / GATE_FILE)
    latched = latch.stops.get(file_name)
    standing = read_stop(root / OVERRIDES, file_name, latch.installation_id)
    digest = (standing.digest if standing else "") or (latched.digest if latched else "")
    if not digest:
        raise Refused("gate.nothing_to_enable", file_name=file_name)
    return Statement(
        stop=file_name,
        stop_digest=digest,
        installation_id=latch.installation_id,
        requested_at=clock.now(),
        nonce=ids.short_id(),
    )


def submit(root: Path, statement: Statement, signatures: Sequence[tuple[str, str]]) -> Path:
    """Write the order for the scheduler to find; raises Conflict `gate.order_exists` or Unavailable."""
    path = root / OVERRIDES / f"{ORDER_PREFIX}{statement.nonce}.json"
    order = Order(statement=statement, signatures=tuple(OrderSignature(*signature) for signature in signatures))
    try:
        if not files.exclusive_write(path, encode(order), 0o600):
            raise Conflict("gate.order_exists", path=path)
    except OSError as error:
        raise Unavailable("files.cannot_write", path=path, reason=files.reason(error)) from error
    return path


def was_refused(path: Path) -> bool:
    """Whether the scheduler refused the order that was submitted as `path`."""
    return (path.parent / REFUSED / path.name).exists()


def add_signature(path: Path, signer: str, signature: str) -> Order:
    """The second person's signature on an order that waits; raises as `read_order` does."""
    order = read_order(path)
    completed = msgspec.structs.replace(order, signatures=(*order.signatures, OrderSignature(signer, signature)))
    files.atomic_write(path, encode(completed), 0o600)
    return completed


def request_enable(
    root: Path,
    *,
    signers: Sequence[tuple[str, Callable[[bytes], str]]],
    file_name: str = ALL.file_name,
    clock: Clock,
) -> Path:
    """Prepare, sign by each of `signers` (person id, message to armored signature) and submit in one go."""
    statement = prepare(root, file_name, clock=clock)
    return submit(root, statement, [(person, sign(statement.message)) for person, sign in signers])


def read_order(path: Path) -> Order:
    """One order as written; raises Unavailable `files.*`, UsageError `gate.bad_document`."""
    return decode(files.read_limited(path, LIMIT), Order, path)


def pending_orders(root: Path) -> list[Path]:
    """The orders that lie before the gate, oldest name first."""
    return sorted((root / OVERRIDES).glob(f"{ORDER_PREFIX}*.json"))


def verify_order(order: Order, latch: Latch, people: People, now: datetime) -> None:
    """
    Return only if `order` releases the stop it names.

    1. It is for this installation.
    2. It names a stop in force, by the digest of what stands there.
    3. Its nonce was never used.
    4. It was made after the stop, not in the future, and not longer ago than its lifetime.
    5. Every signature verifies with a key of its signer in ops/operators.yaml.
    6. There are two different people with two different keys.
    7. One of them is an incident manager.

    Raises Refused `gate.order_*`, or what the signature's verification raises.
    """
    from stage4.security import sshsig

    statement = order.statement
    # 1.
    if statement.installation_id != latch.installation_id:
        raise Refused("gate.order_foreign", found=statement.installation_id)
    # 2.
    stop = latch.stops.get(statement.stop)
    if stop is None or stop.digest != statement.stop_digest:
        raise Refused("gate.order_other_stop", file_name=statement.stop)
    # 3.
    if statement.nonce in latch.consumed:
        raise Refused("gate.order_replayed", nonce=statement.nonce)
    # 4.
    if not stop.since - CLOCK_SKEW <= statement.requested_at <= now + CLOCK_SKEW:
        raise Refused("gate.order_untimely", at=format_instant(statement.requested_at))
    if now - statement.requested_at > LIFETIME:
        raise Refused("gate.order_expired", at=format_instant(statement.requested_at))
    # 5.
    keys_of: dict[str, str] = {}
    roles: frozenset[str] = frozenset()
    for signature in order.signatures:
        key = sshsig.parse(signature.signature).public_key
        signed_by = people.verify(signature.signer, signature.signature, statement.message, sshsig.ENABLE, now)
        roles |= signed_by.roles
        keys_of[signature.signer] = key
    # 6.
    if len(keys_of) < 2 or len(set(keys_of.values())) < 2:
        raise Refused("gate.order_one_person", people=", ".join(keys_of))
    # 7.
    if ROLE not in roles:
        raise Refused("gate.order_no_incident_manager", people=", ".join(keys_of))


def signers_of(order: Order) -> tuple[str, ...]:
    """The people an order names, in the order of signing."""
    return tuple(signature.signer for signature in order.signatures)
