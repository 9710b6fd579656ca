"""Stage4 Operations: incident operations for a multi-strategy trading desk."""

__version__ = "0.1.0"
