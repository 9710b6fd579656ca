"""
Hostile bundles and configurations by the hundred: one production installation, spoilt in one stated way each.

`python -m support.hostile` (in `tests/`) prints the table. `cases.Case` is one row, `ground.Ground` what it is done to.
"""
