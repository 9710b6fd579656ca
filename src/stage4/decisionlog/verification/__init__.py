"""Judges a log: every line, every finding with its place, and apart from that whether anything is missing."""
