"""Tokens grant what they name and nothing else; whatever is unclear grants nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stage4.config.settings import MetricsService, RbacToken
from stage4.errors import Refused, Unavailable
from stage4.security.tokens import METRICS_READ, SCOPES, TokenBook, bearer, resolve_secret, service_token

SECRET = "a-secret-of-the-desk-0123456789"


def book(*tokens: RbacToken, root: Path = Path("/"), **environ: str) -> TokenBook:
    return TokenBook.from_settings(tokens, environ, root)


def reader(**fields: object) -> RbacToken:
    return RbacToken(**{"token_id": "reader", "token_env": "T", "scopes": (METRICS_READ,), **fields})  # type: ignore[arg-type]


def refusal(tokens: TokenBook, presented: str | None, scope: str = METRICS_READ, **names: frozenset[str]) -> str:
    with pytest.raises(Refused) as caught:
        tokens.authorize(presented, scope, **names)
    return caught.value.code


def test_a_token_grants_its_scope() -> None:
    grant = book(reader(), T=SECRET).authorize(SECRET, METRICS_READ)
    assert (grant.token_id, grant.scope) == ("reader", METRICS_READ)


def test_a_wrong_missing_or_blank_token_is_refused() -> None:
    tokens = book(reader(), T=SECRET)
    assert refusal(tokens, None) == "security.token_missing"
    assert refusal(tokens, "") == "security.token_missing"
    assert refusal(tokens, SECRET + "x") == "security.token_unknown"
    assert refusal(tokens, "\udcff\ud800") == "security.token_unknown"
    assert refusal(book(), SECRET) == "security.token_unknown"


@pytest.mark.parametrize("scopes", [(), ("*",), ("admin",), ("metrics.*",), ("risk.read",)])
def test_a_token_without_the_exact_scope_grants_nothing(scopes: tuple[str, ...]) -> None:
    assert refusal(book(reader(scopes=scopes), T=SECRET), SECRET) == "security.scope_missing"


def test_an_unknown_scope_is_granted_to_nobody() -> None:
    assert refusal(book(reader(scopes=("admin", "*")), T=SECRET), SECRET, "admin") == "security.scope_missing"
    assert "*" not in SCOPES


def test_two_tokens_with_one_secret_grant_what_either_has() -> None:
    tokens = book(reader(scopes=("risk.read",), token_id="risk"), reader(), T=SECRET)
    assert tokens.authorize(SECRET, METRICS_READ).token_id == "reader"


def test_a_token_bound_to_a_certificate_counts_only_from_it() -> None:
    tokens = book(reader(san="stage4-client"), T=SECRET)
    assert refusal(tokens, SECRET) == "security.token_wrong_peer"
    assert refusal(tokens, SECRET, peer_names=frozenset({"other"})) == "security.token_wrong_peer"
    assert tokens.authorize(SECRET, METRICS_READ, frozenset({"stage4-client"})).token_id == "reader"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha3_256"])
def test_a_token_may_be_known_by_its_digest_only(algorithm: str) -> None:
    digest = f"{algorithm}:{hashlib.new(algorithm, SECRET.encode()).hexdigest()}"
    token = reader(token_env=None, token_hash=digest)
    assert book(token).authorize(SECRET, METRICS_READ)
    with pytest.raises(Unavailable, match=r"security\.token_hash_only"):
        resolve_secret(token, {}, Path("/"))


def test_a_token_file_is_read_below_the_root_without_its_newline(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    assert book(reader(token_env=None, token_file="token"), root=tmp_path).authorize(SECRET, METRICS_READ)


@pytest.mark.parametrize(
    ("fields", "environ", "reason"),
    [
        ({}, {}, "security.token_env_missing"),
        ({}, {"T": " \n"}, "security.token_blank"),
        ({"token_env": None}, {}, "security.token_sources"),
        ({"token_file": "token"}, {"T": SECRET}, "security.token_sources"),
        ({"token_hash": "sha256:" + "0" * 64}, {"T": SECRET}, "security.token_sources"),
        ({"token_env": None, "token_file": "absent"}, {}, "files.missing"),
        ({"token_env": None, "token_hash": "md5:" + "0" * 32}, {}, "security.token_hash_bad"),
        ({"token_env": None, "token_hash": "sha256:00"}, {}, "security.token_hash_bad"),
        ({"token_env": None, "token_hash": "sha256:zz"}, {}, "security.token_hash_bad"),
        ({"token_env": None, "token_hash": ""}, {}, "security.token_hash_bad"),
    ],
)
def test_a_token_that_cannot_be_resolved_grants_nothing_and_is_named(
    tmp_path: Path, fields: dict[str, object], environ: dict[str, str], reason: str
) -> None:
    tokens = TokenBook.from_settings([reader(**fields)], environ, tmp_path)
    assert tokens.tokens == ()
    assert [(token.token_id, token.reason) for token in tokens.unusable] == [("reader", reason)]
    for presented in (SECRET, " ", "\n"):
        assert refusal(tokens, presented) == "security.token_unknown"


def test_one_unusable_token_leaves_the_others_in_force() -> None:
    tokens = book(reader(token_id="lost", token_env="ABSENT"), reader(), T=SECRET)
    assert tokens.authorize(SECRET, METRICS_READ).token_id == "reader"
    assert [token.token_id for token in tokens.unusable] == ["lost"]


def test_nothing_printed_shows_a_secret() -> None:
    tokens = book(reader(), T=SECRET)
    digest = hashlib.sha256(SECRET.encode()).digest()
    assert SECRET not in repr(tokens)
    assert repr(digest) not in repr(tokens)


def test_the_services_own_token_reads_metrics_only() -> None:
    assert service_token(MetricsService()) is None
    token = service_token(MetricsService(auth_token_env="T"))
    assert token is not None
    assert token.scopes == (METRICS_READ,)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
        (None, None),
    ],
)
def test_the_token_is_taken_out_of_a_bearer_header(header: str | None, token: str | None) -> None:
    assert bearer(header) == token
