"""What tests of the audit commands are given."""

from __future__ import annotations

from support.audit_place import made, place

__all__ = ["made", "place"]
