"""Reads every file that the settings name, so that a mistake shows before it is needed at night."""

from __future__ import annotations

from stage4.app.surroundings import refuse_unfitting
from stage4.config import Installation
from stage4.errors import UsageError


def check_files(installation: Installation) -> None:
    """Load people, rotation, playbook, notifiers, checkpoint places and key ring; raises what the first broken raises.

    Raises Refused as `refuse_unfitting` where all are sound and one does not fit this kind of installation.
    """
    import os

    from stage4.decisionlog.checkpoints import places
    from stage4.incidents.checklist import load_playbook
    from stage4.notify.notifiers import configured
    from stage4.oncall import Roster
    from stage4.security.keyring import KeyRing
    from stage4.security.people import People

    operations = installation.settings.operations
    people = People.load(installation.path(operations.operators_file))
    roster = Roster.load(installation.path(operations.oncall_file))
    strangers = roster.strangers({person.id for person in people})
    if strangers:
        raise UsageError("oncall.stranger", person=", ".join(strangers))
    load_playbook(installation.path(operations.support_playbook))
    configured(installation)
    places.configured(installation, os.environ)
    KeyRing.load(installation.path(operations.decision_log.keyring), os.environ)
    refuse_unfitting(installation)
