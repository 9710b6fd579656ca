"""`stage4 notify test`: a message over every configured channel."""

from __future__ import annotations

import click

from stage4 import ids
from stage4.cli.root import Session
from stage4.clock import SystemClock


@click.group()
def notify() -> None:
    """The channels that notices go over (operations.notifiers)."""


@notify.command()
@click.pass_obj
def test(session: Session) -> int:
    """Send a test notice over every channel; exit 1 when one did not take it, 3 when there is none."""
    from stage4.notify import DeliveryState, Notice
    from stage4.notify.notifiers import configured

    installation = session.installation
    name = installation.settings.operations.installation_id
    notice = Notice(
        f"test/{ids.short_id()}", "#ops-trading", "notify.test", {"installation": name}, SystemClock().now()
    )
    deliveries = {notifier.id: notifier.deliver(notice) for notifier in configured(installation)}
    for channel, delivery in deliveries.items():
        session.say(f"notify.{delivery.state}", channel=channel, detail=delivery.detail)
    if not deliveries:
        session.say("notify.none")
    session.emit(
        {
            "schema": "stage4.notify_test/1",
            "deliveries": [
                {"channel": channel, "state": str(delivery.state), "detail": delivery.detail}
                for channel, delivery in deliveries.items()
            ],
        }
    )
    if not deliveries:
        return 3
    return 0 if all(delivery.state is DeliveryState.DELIVERED for delivery in deliveries.values()) else 1
