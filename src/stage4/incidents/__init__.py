"""Incidents: from an alert to closed evidence.

Pure: `incident`, `effects`, `escalation`, `lifecycle`, `intake`, `checklist`, `steps/`, `closing`, `signoff`.
Touching the world: `store_sql`, `evidence`, `commands`, `core` (the transaction), `engine` (what the rim calls),
`lookup` (reading without the service).
"""
