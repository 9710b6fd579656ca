"""Verifies the decision log, or appends the signed summary of an incident to it (PLAYBOOK L1.4)."""

from stage4.cli.verify_decision_log import main

raise SystemExit(main())
