"""`python -m stage4` is the `stage4` command."""

from stage4.cli import main

raise SystemExit(main())
