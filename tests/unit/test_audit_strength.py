"""How hard a secret is to guess."""

from __future__ import annotations

import base64
import random

import pytest

from stage4.audit import strength

CHANCE = random.Random(20261123)


@pytest.mark.parametrize(
    "secret",
    [
        CHANCE.randbytes(16).hex(),
        CHANCE.randbytes(32).hex(),
        base64.urlsafe_b64encode(CHANCE.randbytes(32)).decode().rstrip("="),
        base64.b64encode(CHANCE.randbytes(32)).decode(),
        base64.b32encode(CHANCE.randbytes(20)).decode(),
    ],
)
def test_what_a_generator_makes_is_strong(secret: str) -> None:
    assert strength.bits(secret) >= 128
    assert not strength.is_placeholder(secret)


@pytest.mark.parametrize("size", [16, 32])
def test_no_random_token_of_128_bits_and_more_is_called_weak(size: int) -> None:
    for _ in range(2000):
        drawn = CHANCE.randbytes(size)
        assert strength.bits(drawn.hex()) >= 128
        assert strength.bits(base64.urlsafe_b64encode(drawn).decode().rstrip("=")) >= 128


@pytest.mark.parametrize(
    "secret",
    ["", "a", "x" * 32, "ab" * 32, "0123456789abcdef" * 4, "abcdefghijklmnopqrstuvwxyz", "1234567890" * 4, "hunter2"],
)
def test_what_people_type_is_weak(secret: str) -> None:
    assert strength.bits(secret) < 128


@pytest.mark.parametrize("secret", ["ChangeMe-please-before-going-live", "my-very-long-Password-for-the-service"])
def test_a_word_that_stands_for_a_secret_is_known(secret: str) -> None:
    assert strength.is_placeholder(secret)


@pytest.mark.parametrize(
    "secret",
    ["zyxwvutsrqponmlkjihgfedcba", "9876543210" * 4, "Kraków-2026/Kraków-2026/Kraków-2026!", "correct7horse=" * 4],
)
def test_what_runs_backwards_or_echoes_itself_is_weak(secret: str) -> None:
    assert strength.bits(secret) < 128


@pytest.mark.parametrize(
    "secret",
    [
        "${CORE_SCHEDULER_TOKEN_FROM_VAULT_FOR_PRODUCTION}",
        "{{ vault.core_scheduler_token_of_the_desk }}",
        "<paste the token of the scheduler here, please>",
        "zmień-to-zanim-uruchomisz-produkcję-na-serwerze",
        "$CORE_SCHEDULER_TOKEN",
    ],
)
def test_a_template_that_nobody_filled_in_is_a_placeholder(secret: str) -> None:
    assert strength.is_placeholder(secret)


def test_chance_alone_is_never_called_a_placeholder() -> None:
    for _ in range(2000):
        assert not strength.is_placeholder(base64.b64encode(CHANCE.randbytes(32)).decode())


def test_a_uuid_has_the_bits_that_its_standard_leaves_it() -> None:
    assert strength.bits("f47ac10b-58cc-4372-a567-0e02b2c3d479") == 122.0
    assert strength.bits("{F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6}") == 60.0
    assert strength.bits("f47ac10b-58cc-4372-a567-0e02b2c3d479" + CHANCE.randbytes(8).hex()) >= 128


@pytest.mark.parametrize(
    "secret",
    [
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "5F4DCC3B5AA765D61D8327DEB882CF99",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "d41d8cd98f00b204e9800998ecf8427e",
        "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    ],
)
def test_a_digest_of_a_word_that_everybody_tries_is_a_placeholder(secret: str) -> None:
    assert strength.is_placeholder(secret)


@pytest.mark.parametrize(
    "secret",
    [
        "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0",
        "1a2b3c4d5e6f7g8h9i0j1k2l3m4n5o6p7q8r9s0t",
        "AzByCxDwEvFuGtHsIrJqKpLoMnNmOlPkQjRiShTg",
        "MyCompanyTradingDeskToken2026",
        "tradingDeskSchedulerAccessKey_2026!",
        "3141592653589793238462643383279502884197169399375105820974944592",
        "2.718281828459045235360287471352662497757247093699959574966967",
    ],
)
def test_what_people_make_up_by_rule_is_weak(secret: str) -> None:
    assert strength.bits(secret) < 128


def test_many_words_of_a_list_are_strong() -> None:
    assert strength.bits("HamsterQuartzVelvetOrchidTundraSaddleMarbleFalconRibbonCopper") >= 128
