"""Drives the real scheduler and judges its latency and jitter (PLAYBOOK L2.2)."""

from stage4.cli.load_test_scheduler import main

raise SystemExit(main())
