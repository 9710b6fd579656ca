"""Watches the metrics stream over mTLS and reports headers, access and anomalies (PLAYBOOK L2.3)."""

from stage4.cli.watch_metrics_stream import main

raise SystemExit(main())
