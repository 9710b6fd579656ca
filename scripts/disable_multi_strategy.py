"""Stops the scheduler and waits for its own word (PLAYBOOK L2.5)."""

from stage4.cli.disable_multi_strategy import main

raise SystemExit(main())
