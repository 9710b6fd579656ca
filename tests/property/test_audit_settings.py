"""No settings make an audit stumble, and no secret leaves it, whatever the settings are."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stage4.audit.reading import HIDDEN
from stage4.cli import audit_security_baseline, audit_stage4_compliance
from stage4.errors import ExitCode
from support.audit_rooms import Answer, Room, copied
from support.audits import demo_installation

OURS = ("FS-", "TLS", "RBA", "DLO")
ENDS = {ExitCode.DONE, ExitCode.NO, ExitCode.USAGE, ExitCode.CANNOT_TELL}
# Of a length that stands nowhere else.
LENGTH = 977
DRAWN = base64.urlsafe_b64encode(hashlib.shake_256(b"audit").digest(LENGTH)).decode()[:LENGTH]
SHORT = "Zk3-pQ9_vL2xW8rT5yB1nM7cH4jD6gF0"
# A secret in the place of a name is known by its looks; a weak word there is a name as good as another.
DRAWN_ONES = (DRAWN, SHORT)
SECRETS = (*DRAWN_ONES, "hunter2hunter2", "x" * 61)
VARIABLES = ("CORE_SCHEDULER_TOKEN", "METRICS_SERVICE_AUTH_TOKEN", "LIVE_DECISION_LOG_HMAC", "ANOTHER")
KEYS = (
    *("runtime", "execution", "observability", "operations", "metrics_service", "risk_service", "tls", "rbac_tokens"),
    *("multi_strategy_schedulers", "schedules", "mtls", "live_router", "decision_log", "key_rotation", "entries"),
    *("token_id", "token_env", "token_file", "token_hash", "token_value", "scopes", "enabled", "host", "port", "path"),
    *("bundle_directory", "ca_certificate", "server_key", "rotation_registry", "registry_path", "hmac_key_path"),
    *("client_ca_path", "pinned_fingerprints", "keyring", "notifiers", "checkpoints", "places", "directory", "url"),
)
ODD_TEXTS = (
    "",
    " ",
    ".",
    "..",
    "/",
    "~",
    "../../etc/shadow",
    "/dev/zero",
    "/proc/self/mem",
    "a" * 300,
    "a/" * 2000,
    "żółw",
    "*",
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.floats(allow_nan=True),
    st.sampled_from(ODD_TEXTS),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=8),
    st.dates(),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYS) | st.text("ab.", max_size=3), inner, max_size=4),
    ),
    max_leaves=12,
)
quick = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("settings") / "demo"
    return root, demo_installation(root)


@pytest.fixture(scope="module")
def room(made: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Room:
    return copied(made[0], tmp_path_factory.mktemp("judged") / "demo", made[1])


def judged(room: Room, content: bytes) -> Iterator[Answer]:
    """What both audits say of the settings `content`; the reports before are taken away, to be quick."""
    (room.root / "config/core.yaml").write_bytes(content)
    shutil.rmtree(room.root / "var/audit/acceptance", ignore_errors=True)
    for main in (audit_stage4_compliance.main, audit_security_baseline.main):
        answer = room.audit("--check-paths", "--allow-missing-env", main=main)
        assert answer.code in ENDS, (content, answer.err)
        assert answer.document["exit_code"] == answer.code
        assert answer.document["schema"].startswith("stage4.")
        # One subject of one control has one answer, or reports cannot be compared; hidden names are all one.
        named = [(r["control"], r["subject"]) for r in answer.document.get("results", []) if r["control"][:3] in OURS]
        named = [name for name in named if name[1] != HIDDEN]
        assert len(named) == len(set(named))
        yield answer


def dumped(tree: object) -> bytes:
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8")


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of `tree`, also to those that hold others."""
    yield path
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, member in members:
        yield from leaves(member, (*path, name))


DEMO = yaml.safe_load((Path(__file__).parents[2] / "config/core.yaml").read_text(encoding="utf-8"))
PLACES = sorted((path for path in leaves(DEMO) if path), key=str)


def with_value(path: tuple[Any, ...], value: object) -> object:
    tree = yaml.safe_load(yaml.safe_dump(DEMO))
    at = tree
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return tree


@quick
@given(tree=trees)
def test_no_document_makes_an_audit_stumble(room: Room, tree: object) -> None:
    assert len(list(judged(room, dumped(tree)))) == 2


@quick
@given(place=st.sampled_from(PLACES), value=trees)
def test_no_value_in_any_place_makes_an_audit_stumble(room: Room, place: tuple[Any, ...], value: object) -> None:
    assert len(list(judged(room, dumped(with_value(place, value))))) == 2


@quick
@given(content=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_make_an_audit_stumble(room: Room, content: bytes) -> None:
    assert len(list(judged(room, content))) == 2


def forms(secret: str) -> Iterator[str]:
    """What a secret must not be known by: itself, its digests, all of them in the usual spellings."""
    content = secret.encode()
    yield secret
    yield content.hex()
    yield base64.b64encode(content).decode().rstrip("=")
    for algorithm in ("sha256", "sha512", "sha3_256", "md5", "sha1"):
        digest = hashlib.new(algorithm, content).digest()
        yield digest.hex()
        yield digest.hex()[:16]
        yield base64.b64encode(digest).decode().rstrip("=")


def numbers(value: Any) -> Iterator[object]:
    if isinstance(value, dict):
        for member in value.values():
            yield from numbers(member)
    elif isinstance(value, list):
        for member in value:
            yield from numbers(member)
    elif not isinstance(value, str):
        yield value


tokens = st.fixed_dictionaries(
    {"token_id": st.sampled_from(["one", "two", *DRAWN_ONES])},
    optional={
        "token_env": st.sampled_from([*VARIABLES, *DRAWN_ONES]),
        "token_file": st.sampled_from(["secrets/detector.token", "secrets/none", *DRAWN_ONES]),
        "token_hash": st.sampled_from([*SECRETS, *(f"md5:{s}" for s in SECRETS)])
        | st.sampled_from(SECRETS).map(lambda s: "sha256:" + hashlib.sha256(s.encode()).hexdigest()),
        "token_value": st.sampled_from(SECRETS),
        "scopes": st.lists(st.sampled_from(["metrics.read", "*", *DRAWN_ONES]), max_size=2),
    },
)


@quick
@given(
    listed=st.lists(tokens, min_size=1, max_size=3),
    values=st.dictionaries(st.sampled_from(VARIABLES), st.sampled_from(SECRETS)),
    content=st.sampled_from(SECRETS),
    router=st.dictionaries(
        st.sampled_from(["hmac_key_env", "hmac_key_path", "key_value"]),
        st.sampled_from([*DRAWN_ONES, *VARIABLES]),
        max_size=2,
    ),
)
def test_no_secret_is_ever_repeated(
    room: Room, listed: list[dict[str, object]], values: dict[str, str], content: str, router: dict[str, str]
) -> None:
    tree: Any = with_value(("runtime", "metrics_service", "rbac_tokens"), listed)
    tree["runtime"]["metrics_service"]["auth_token"] = content
    tree["execution"]["live_router"]["decision_log"] = {**router, "key_id": "live-router"}
    (room.root / "secrets/detector.token").write_text(content, encoding="utf-8")
    before = dict(room.environ)
    room.environ.update(values)
    try:
        answers = list(judged(room, dumped(tree)))
    finally:
        room.environ.clear()
        room.environ.update(before)

    for answer in answers:
        said = answer.out + answer.err
        for secret in SECRETS:
            assert all(form not in said for form in forms(secret)), secret
        assert LENGTH not in list(numbers(answer.document))
        assert re.search(rf"\b{LENGTH}\b", answer.err) is None
