"""
The compliance audit: certificates, files, tokens, rotations and the decision log of one installation.

Collect, then judge: `collect` reads everything once into a frozen `Evidence`, the controls are pure functions of
evidence, policy and instant, and `report` turns their findings into one document. What could not be evaluated is
`unknown`, and counts as fail.
"""
