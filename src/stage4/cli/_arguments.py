"""An argument parser whose complaints become errors of stage4, so that a command still prints its one document."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from stage4.errors import UsageError


class Parser(argparse.ArgumentParser):
    """argparse, except that a wrong call raises UsageError `arguments.malformed` after the usage on stderr."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise UsageError("arguments.malformed", program=self.prog, reason=message)
