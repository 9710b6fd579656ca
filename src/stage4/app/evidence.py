"""Lays the evidence of an incident out for somebody who has only this folder and the usual tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stage4.app.client import ServiceClient
from stage4.config import Installation
from stage4.security.people import People

ALLOWED_SIGNERS = "allowed_signers"


def lay_out(installation: Installation, incident_id: str, directory: Path) -> dict[str, Any]:
    """
    The artefacts with `SHA256SUMS`, and the public keys that `ssh-keygen -Y verify -f allowed_signers` wants.

    The keys come from `ops/operators.yaml` of this installation: who checks should compare them with a copy of their
    own, because a folder cannot vouch for the keys that lie in it.
    """
    document = ServiceClient(installation).post(f"/v1/incidents/{incident_id}/evidence", {"path": str(directory)})
    people = People.load(installation.path(installation.settings.operations.operators_file))
    people.write_allowed_signers(Path(document["path"]) / ALLOWED_SIGNERS)
    return document
