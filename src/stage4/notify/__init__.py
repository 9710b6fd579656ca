"""
Notices to people: one message to one target, and what became of it.

A notifier turns a notice into a `Delivery` and nothing else; retry, order and throttling live around it, in the
outbox of the incidents. To add one: a file in `notifiers/` and a line in `NOTIFIERS`.
"""

from __future__ import annotations

from stage4.notify.notice import Delivery, DeliveryState, Notice, Notifier, render

__all__ = ["Delivery", "DeliveryState", "Notice", "Notifier", "render"]
