"""Which headers and addresses carry a secret."""

from __future__ import annotations

import pytest

from stage4.audit.inline_secrets import has_secret, is_secret_header


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "x-bot-auth",
        "x-access-token",
        "X-Api-Key",
        "apiKey",
        "cookie",
        "desk_secret",
        "x-authtoken",
        "sid",
    ],
)
def test_a_header_that_is_called_a_secret_is_one(name: str) -> None:
    assert is_secret_header(name, "hunter2")
    assert not is_secret_header(name, "  ")


def test_a_header_with_credentials_in_its_value_is_a_secret_whatever_it_is_called() -> None:
    assert is_secret_header("x-desk", "Bearer hunter2")


@pytest.mark.parametrize(
    ("name", "value"),
    [("x-stage4-client", "operations"), ("x-request-id", "7"), ("user-agent", "monkey/1.0"), ("x-author", "anna")],
)
def test_other_headers_are_none(name: str, value: str) -> None:
    assert not is_secret_header(name, value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://desk:hunter2@db.example/stage4",
        "postgresql://u:pa/ss@127.0.0.1/db",
        "postgresql://u:pa?s#s@127.0.0.1/db",
        "postgresql://127.0.0.1/db?user=u&password=hunter2",
        "http://127.0.0.1:9090/?api_key=SECRETVALUE123",
        "https://alerts.example/#access_token=hunter2",
        "https://alerts.example/?x=1&apiKey=hunter2",
        "https://alerts.example/?api%5Fkey=hunter2",
        "https://kQ7vTz2mWp9xLr4NcY8uHd3S@alerts.example/",
    ],
)
def test_an_address_with_a_secret_is_known(address: str) -> None:
    assert has_secret(address)


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///var/stage4.db",
        "http://127.0.0.1:9090",
        "http://127.0.0.1:9090/path@version?tenant=desk",
        "http://[::1]:9090/",
        "postgresql://stage4@db.example/stage4",
        "http://127.0.0.1:9090/?monkey=1&token=",
    ],
)
def test_an_address_without_one_is_let_be(address: str) -> None:
    assert not has_secret(address)
