"""The registry of notifiers: one file a channel, one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stage4.config.installation import Installation
from stage4.config.settings import Notifier as NotifierSettings
from stage4.notify.notice import Notifier
from stage4.notify.notifiers.file import FileNotifier
from stage4.notify.notifiers.slack import SlackNotifier

NOTIFIERS: Mapping[str, Callable[[Installation, NotifierSettings], Notifier]] = {
    "file": FileNotifier.from_settings,
    "slack": SlackNotifier.from_settings,
}


def configured(installation: Installation) -> tuple[Notifier, ...]:
    """The notifiers of the settings, in their order; raises UsageError for one that cannot be built."""
    return tuple(
        NOTIFIERS[settings.kind](installation, settings) for settings in installation.settings.operations.notifiers
    )
