"""
The tamper-evident decision log: entries in canonical bytes, chained and signed line by line, appended by several
processes at once, verified with every finding located.
"""
