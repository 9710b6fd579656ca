"""
What an installation of its kind refuses to run with.

A demo or drill stays on this machine: it listens on loopback only and asks only monitoring that is here too
(notifiers refuse other addresses themselves). A production installation runs neither on the demo PKI nor with the
demo people, whose private keys lie on the disk. What cannot be read is left to those who need it.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from stage4.config import Installation
from stage4.config.addresses import is_loopback
from stage4.errors import Refused, Stage4Error


def refuse_unfitting(installation: Installation) -> None:
    """Raises Refused `surroundings.not_local`, `surroundings.demo_certificate` or `surroundings.demo_people`."""
    if installation.is_rehearsal:
        _refuse_others(installation)
    else:
        _refuse_demo_certificates(installation)
        _refuse_demo_people(installation)


def _refuse_others(installation: Installation) -> None:
    operations = installation.settings.operations
    monitoring = operations.monitoring
    hosts = {
        "runtime.metrics_service.host": installation.settings.runtime.metrics_service.host,
        "operations.monitoring.metrics_host": monitoring.metrics_host,
        "operations.service.host": operations.service.host,
    }
    for key, url in (
        ("operations.monitoring.prometheus_url", monitoring.prometheus_url),
        ("operations.monitoring.alertmanager_url", monitoring.alertmanager_url),
    ):
        if url is not None:
            hosts[key] = urlsplit(url).hostname or url
    for key, host in hosts.items():
        if not is_loopback(host):
            raise Refused("surroundings.not_local", key=key, host=host, installation=operations.installation)


def _refuse_demo_certificates(installation: Installation) -> None:
    from stage4.security.certificates import load_certificates
    from stage4.security.demo_pki import is_demo

    tls, bundle = installation.settings.runtime.metrics_service.tls, installation.settings.execution.mtls
    named = (
        *(bundle.ca_certificate, bundle.server_certificate, bundle.client_certificate),
        *(tls.certificate_path, tls.client_ca_path),
    )
    for path in (installation.path(name) for name in named if name is not None):
        try:
            certificates = load_certificates(path)
        except Stage4Error:
            continue
        if any(map(is_demo, certificates)):
            raise Refused("surroundings.demo_certificate", path=path)


def _refuse_demo_people(installation: Installation) -> None:
    from stage4.security import demo_people
    from stage4.security.people import People

    path: Path = installation.path(installation.settings.operations.operators_file)
    try:
        people = People.load(path)
    except Stage4Error:
        return
    found = [person for person in demo_people.IDS if person in people]
    if found:
        raise Refused("surroundings.demo_people", path=path, people=", ".join(found))
