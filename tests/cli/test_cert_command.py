"""`stage4 cert show|verify`: for one certificate what the audit says of a bundle, without an installation."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from stage4.cli import root
from stage4.clock import format_instant
from support.certificates import CLIENT, NOW, SERVER, Made, crl_pem, key_pem, make, pem, revocation_list, rsa_key

CORE = Path(__file__).parents[2] / "config" / "core.yaml"
AT = ("--at", format_instant(NOW))


@dataclass
class Desk:
    """A directory that is no installation, and what the command answered there."""

    root: Path
    capture: pytest.CaptureFixture[str]

    def file(self, name: str, *content: bytes) -> str:
        path = self.root / name
        path.write_bytes(b"".join(content))
        return str(path)

    def run(self, *arguments: str, lang: str = "en") -> tuple[int, str, str]:
        code = root.run(["--lang", lang, "cert", *arguments])
        said = self.capture.readouterr()
        return code, said.out, said.err

    def document(self, *arguments: str) -> dict[str, Any]:
        code, out, _ = self.run(*arguments, "--json")
        document: dict[str, Any] = json.loads(out)
        assert document["exit_code"] == code
        return document

    def verify(self, leaf: str, *options: str, role: str = "server", lang: str = "en") -> tuple[int, list[str]]:
        anchor = ("--anchor", str(self.root / "ca.pem"))
        code, out, _ = self.run("verify", leaf, *anchor, "--role", role, *AT, *options, lang=lang)
        return code, out.splitlines()


@pytest.fixture(scope="module")
def ca() -> Made:
    return make("ca", ca=True, ends=NOW + timedelta(days=365))


@pytest.fixture(scope="module")
def server(ca: Made) -> Made:
    return make("server", ca, eku=SERVER, sans=("localhost",))


@pytest.fixture
def desk(ca: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    (tmp_path / "ca.pem").write_bytes(pem(ca.certificate))
    return Desk(tmp_path, capsys)


def test_a_right_certificate_with_a_fresh_list_is_accepted(desk: Desk, ca: Made, server: Made) -> None:
    leaf = desk.file("server.pem", pem(server.certificate))
    crl = desk.file("ca.crl", crl_pem(revocation_list(ca)))

    code, lines = desk.verify(leaf, "--name", "DNS:localhost", "--crl", crl)

    assert code == 0
    assert lines == [
        f"OK: {leaf} will be accepted",
        "  the certificate chain is valid",
        "  certificate CN=server is not on the revocation list (the next list is due by 2026-11-30T09:42:00Z)",
    ]


def test_without_a_list_or_a_name_it_warns_and_says_what_was_not_looked_at(desk: Desk, server: Made) -> None:
    leaf = desk.file("server.pem", pem(server.certificate))

    code, lines = desk.verify(leaf, lang="pl")

    assert code == 0
    assert lines[0] == f"OSTRZEŻENIE: certyfikat {leaf} zostanie przyjęty, ale jest co poprawić"
    assert lines[2] == "  unieważnień nie sprawdzono, bo nie podano żadnej listy"
    assert lines[3] == "  nie podano --name, więc nazwy serwera nie sprawdzono"
    assert lines[-1] == "-> podaj listę CRL urzędu: --crl PLIK"


def test_each_refusal_has_its_reason_and_its_next_step(desk: Desk, ca: Made, server: Made) -> None:
    leaf = desk.file("server.pem", pem(server.certificate))
    stolen = desk.file("stolen.crl", crl_pem(revocation_list(ca, server)))
    old = desk.file("old.crl", crl_pem(revocation_list(ca, ends=NOW - timedelta(hours=1))))
    cases: tuple[tuple[tuple[str, ...], str, str], ...] = (
        (("--name", "DNS:elsewhere"), "wrong_host", "issue the server certificate anew"),
        (("--name", "IP:127.0.0.1"), "wrong_host", "issue the server certificate anew"),
        (("--crl", stolen), "valid", "replace the certificate with its key at once"),
        (("--crl", old), "valid", "fetch a new CRL from the authority"),
        (("--at", "2027-09-01T00:00:00Z"), "expired", "look at the host's clock"),
    )
    for options, reason, step in cases:
        code, lines = desk.verify(leaf, *options)
        document = desk.document(
            "verify", leaf, "--anchor", str(desk.root / "ca.pem"), "--role", "server", *AT, *options
        )
        assert (code, lines[0]) == (1, f"FAIL: {leaf} is refused"), options
        assert any(line.startswith("-> ") and step in line for line in lines), lines
        assert (document["schema"], document["verdict"]) == ("stage4.cert_verify/1", "fail")
        assert document["chain"]["reason"] == reason


def test_a_wrong_name_is_told_beside_the_right_ones_and_in_one_language(desk: Desk, server: Made) -> None:
    leaf = desk.file("server.pem", pem(server.certificate))

    code, lines = desk.verify(leaf, "--name", "DNS:elsewhere", lang="pl")

    assert code == 1
    assert lines[1] == "  certyfikat nie obejmuje tej nazwy hosta (SAN); nazwy w certyfikacie: DNS:localhost"


@pytest.mark.parametrize("sans", [("a b", "localhost"), ("a b",), ()])
def test_a_server_whose_own_names_are_none_is_no_wrong_call(desk: Desk, ca: Made, sans: tuple[str, ...]) -> None:
    leaf = desk.file("server.pem", pem(make("server", ca, eku=SERVER, sans=sans).certificate))

    code, lines = desk.verify(leaf)

    assert code == (0 if "localhost" in sans else 1)
    assert lines[0].endswith("is refused" if code else "but there is something to put right")


def test_a_client_is_judged_in_its_own_role_and_under_its_own_name(desk: Desk, ca: Made, server: Made) -> None:
    client = desk.file("client.pem", pem(make("client", ca, eku=CLIENT, sans=("stage4-client",)).certificate))

    assert desk.verify(client, role="client")[0] == 0
    assert desk.verify(client, "--name", "DNS:stage4-client", role="client")[0] == 0
    assert desk.verify(client, "--name", "DNS:another", role="client")[0] == 1
    assert desk.verify(desk.file("server.pem", pem(server.certificate)), role="client")[0] == 1


def test_intermediates_come_from_the_file_of_the_leaf_or_from_their_own(desk: Desk, ca: Made) -> None:
    middle = make("middle", ca, ca=True)
    leaf = make("leaf", middle, eku=SERVER, sans=("localhost",))
    alone = desk.file("leaf.pem", pem(leaf.certificate))
    above = desk.file("middle.pem", pem(middle.certificate))

    assert desk.verify(alone)[0] == 1
    assert desk.verify(alone, "--intermediates", above)[0] == 0
    assert desk.verify(desk.file("both.pem", pem(leaf.certificate), pem(middle.certificate)))[0] == 0


def test_a_file_that_is_no_certificate_is_refused_and_a_wrong_call_is_another_thing(
    desk: Desk, ca: Made, server: Made
) -> None:
    key = desk.file("key.pem", key_pem(ca.key))
    words = desk.file("words.pem", b"cert")
    document = desk.document("verify", words, "--anchor", str(desk.root / "ca.pem"), "--role", "server")
    assert (document["exit_code"], document["verdict"]) == (1, "fail")
    assert document["error"]["code"] == "security.certificate_missing"
    assert desk.verify(key)[0] == 1
    good = str(desk.root / "ca.pem")
    assert desk.run("verify", good, "--anchor", words, "--role", "server")[0] == 2
    assert desk.run("verify", good, "--anchor", good)[0] == 2
    assert desk.run("verify", good, "--anchor", good, "--role", "server", "--name", "localhost")[0] == 2
    assert desk.run("verify", good, "--anchor", good, "--role", "server", "--name", "DNS:a b")[0] == 2
    assert desk.run("verify", good, "--anchor", good, "--role", "server", "--at", "yesterday")[0] == 2
    assert desk.run("verify", str(desk.root / "absent"), "--anchor", good, "--role", "server")[0] == 3
    assert desk.run("verify", good, "--anchor", good, "--role", "server", "--crl", str(desk.root / "absent"))[0] == 3
    lists = crl_pem(revocation_list(ca)), crl_pem(revocation_list(ca, server)).replace(b"X509 CRL", b"CRL")
    torn = desk.file("torn.crl", *lists)
    right = desk.file("server.pem", pem(server.certificate))
    assert desk.run("verify", right, "--anchor", good, "--role", "server", "--crl", torn)[0] == 2


def test_a_file_that_the_audit_would_not_take_is_refused_here_too(desk: Desk, server: Made) -> None:
    der = desk.file("server.der", server.certificate.public_bytes(serialization.Encoding.DER))
    noisy = desk.file("server.txt", b"Certificate:\n    Data:\n", pem(server.certificate))

    code, lines = desk.verify(der)
    assert (code, lines[1]) == (1, "  the certificate chain is valid")
    assert f"-> convert it: openssl x509 -inform der -in {der} -out {der}.pem" in lines
    code, lines = desk.verify(noisy)
    assert code == 1
    assert f"  FAIL {noisy} holds something besides its PEM block" in lines


def test_what_does_not_end_is_not_waited_for(desk: Desk) -> None:
    pipe = desk.root / "pipe"
    os.mkfifo(pipe)

    assert desk.run("show", str(pipe))[0] == 3
    assert desk.run("show", str(desk.root))[0] == 3
    assert desk.run("show", desk.file("huge", b"x" * (1 << 19)))[0] == 3


def test_facts_are_shown_for_people(desk: Desk, ca: Made, server: Made) -> None:
    chain = desk.file("chain.pem", pem(server.certificate), pem(ca.certificate))

    code, out, _ = desk.run("show", chain, *AT)

    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == f"{chain} #0"
    assert "subject CN=server" in lines
    assert "names (SAN) DNS:localhost" in lines
    assert "valid until 2027-02-21 10:42:00 +01:00 (09:42:00Z) (90.0 days left)" in lines
    assert "looks like a server's certificate" in lines
    assert "purposes (EKU) serverAuth" in lines
    assert "warn the service's file holds the CA too, which the other side needs to have anyway: CN=ca" in lines
    assert f"{chain} #1" in lines
    assert "CA yes" in lines


def test_facts_are_shown_for_machines_and_der_is_read_too(desk: Desk, ca: Made) -> None:
    strong = make("rsa", ca, key=rsa_key(2048), eku=SERVER, sans=("localhost",), serial=0x7F)
    der = desk.file("leaf.der", strong.certificate.public_bytes(serialization.Encoding.DER))

    document = desk.document("show", der, str(desk.root / "absent"), *AT)

    assert (document["schema"], document["exit_code"]) == ("stage4.cert/1", 3)
    [shown], absent = document["files"][0]["certificates"], document["files"][1]
    assert (shown["serial"], shown["rsa_exponent"], shown["role"], shown["lints"]) == ("7f", 65537, "server", [])
    assert absent["error"]["code"] == "files.missing"


def test_the_installation_around_says_the_language(
    desk: Desk, server: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STAGE4_LANG", raising=False)
    leaf = desk.file("server.pem", pem(server.certificate))
    core = desk.root / "config" / "core.yaml"

    def said(*more: str) -> str:
        for argv in (["show", leaf, *AT], ["verify", leaf, "--anchor", "ca.pem", "--role", "server", *AT]):
            assert root.run(["cert", *argv, *more]) == 0
        return capsys.readouterr().out

    assert "ważny" not in said()
    core.parent.mkdir()
    core.write_text(CORE.read_text().replace("language: en", "language: pl"))
    polish = said()
    assert polish != said("--lang", "en")
    assert polish == said("--lang", "pl")
    core.write_text("no settings at all")
    assert said() == said("--lang", "en")
