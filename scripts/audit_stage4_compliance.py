"""Audits certificates, tokens, rotations and the decision log of this installation (PLAYBOOK L1.2, L2.1, L2.4)."""

from stage4.cli.audit_stage4_compliance import main

raise SystemExit(main())
