"""Prints the security baseline: TLS of the services and coverage of the RBAC tokens (PLAYBOOK L2.4)."""

from stage4.cli.audit_security_baseline import main

raise SystemExit(main())
