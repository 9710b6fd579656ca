"""The settings of one installation: config/core.yaml in, frozen and validated values out."""

from __future__ import annotations

from stage4.config.document import Document, parse_yaml, read_yaml
from stage4.config.installation import CORE, Installation, Notice, find_root, load

__all__ = ["CORE", "Document", "Installation", "Notice", "find_root", "load", "parse_yaml", "read_yaml"]
