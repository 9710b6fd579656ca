"""
Coverage-guided fuzzing of everything that reads the decision log; part of `make soak`.

    python tests/fuzz/explore.py TARGET [--seconds 60]

Starts from genuine material and ends with 0 when the time is over, with another code at the first input that breaks
what must hold; atheris leaves that input in a file `fuzz-crash-…` of the working directory.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["stage4.decisionlog", "stage4.security.keyring"]):
    from support.fuzzing import Grounds, corpus, targets


def main() -> None:
    """Fuzz one target for a while; atheris ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    logging.disable()
    # Memory, where there is such a file system: a target writes thousands of small files a second.
    shared = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
    grounds = Grounds.create(Path(folder.name))
    seeds = Path(folder.name) / "seeds"
    seeds.mkdir()
    for number, content in enumerate(corpus(grounds)[arguments.target]):
        (seeds / str(number)).write_bytes(content)
    target = targets(grounds)[arguments.target]
    atheris.Setup(
        [sys.argv[0], str(seeds), f"-max_total_time={arguments.seconds}", "-max_len=16384", "-artifact_prefix=fuzz-"],
        target,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
