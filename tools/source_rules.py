"""
Rules of this house that no linter knows: file length, the only readers of clock and chance, no addresses.

Prints each breach as `file:line: rule` and exits 1 when there is one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LONGEST = 500
SOURCE_RULES = (
    (
        "only clock.py reads the clock, only ids.py reads chance",
        re.compile(
            r"datetime\.(now|utcnow)\(|\btime\.(time|monotonic)(_ns)?\(|date\.today\(|\buuid4\("
            r"|\brandom\.(random|choice|uniform|randint|shuffle)\(|\bsecrets\.(token|choice|randb)|\burandom\("
        ),
        {"src/stage4/clock.py", "src/stage4/ids.py"},
    ),
    ("unfinished", re.compile(r"\b(TODO|FIXME|XXX)\b|NotImplementedError"), set()),
)
# Written in two halves, so that this file does not break its own rule.
ADDRESSES = re.compile("|".join(["python" + r"hosted\.", "py" + r"pi\.org", "npm" + r"js\.", "deb\\.deb" + "ian"]))


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if Path(name).is_file() and not Path(name).is_symlink()]


def breaches(name: str) -> list[str]:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    lines = text.splitlines()
    found = []
    generated = name.endswith(("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"))
    if name.endswith(".py") and len(lines) > LONGEST and not generated:
        found.append(f"{name}:{len(lines)}: a Python file has at most {LONGEST} lines")
    for number, line in enumerate(lines, 1):
        if name.startswith("src/") and name.endswith(".py") and not generated:
            found += [
                f"{name}:{number}: {rule}"
                for rule, form, free in SOURCE_RULES
                if name not in free and form.search(line)
            ]
        if name != "LICENSE" and ADDRESSES.search(line):
            found.append(f"{name}:{number}: no address of a package registry")
    return found


def main() -> int:
    found = [breach for name in tracked() for breach in breaches(name)]
    print("\n".join(found) or "source rules: kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
