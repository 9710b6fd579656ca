"""
Brings the programs that the tests run beside ours to `.tools/bin`, without root: Prometheus, Alertmanager,
OpenSSL and OpenSSH's ssh-keygen.

Installed binaries are preferred. Otherwise Debian's packages are downloaded with `apt-get download` (from the
sources that the machine is configured with) and unpacked with `dpkg -x`; nothing is installed. Run again it
returns at once. Only the standard library is needed, so it runs before the virtual environment exists.

exit: 0 all tools answer, 3 they cannot be had here (the message says what to do)
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PACKAGE = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "openssl": "openssl",
    "ssh-keygen": "openssh-client",
}
TOOLS = tuple(PACKAGE)
DEBIAN_NAME = {"alertmanager": "prometheus-alertmanager"}
TEMPLATES = "/usr/share/prometheus/alertmanager"


def installed(tool: str) -> Path | None:
    """The path of an installed `tool` that can work, under Debian's name or its own."""
    for name in (tool, DEBIAN_NAME.get(tool, tool)):
        found = shutil.which(name)
        if found is None:
            continue
        # Debian's Alertmanager cannot start without the template that its package puts there.
        if tool in ("alertmanager", "amtool") and name != tool and not Path(TEMPLATES, "default.tmpl").is_file():
            continue
        return Path(found)
    return None


def download(packages: Sequence[str], into: Path, scratch: Path) -> None:
    """Fetch `packages`; with no package lists on the machine, make private ones first."""
    private = (
        "-o", f"Dir::State={scratch}/state", "-o", f"Dir::State::status={scratch}/status",
        "-o", f"Dir::Cache={scratch}/cache", "-o", "Debug::NoLocking=1",
    )  # fmt: skip
    own = ("-o", f"APT::Sandbox::User={getpass.getuser()}")
    fetch = ("apt-get", "-qq", *own, "download", *packages)
    if subprocess.run(fetch, cwd=into, capture_output=True).returncode == 0:
        return
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "status").touch()
    subprocess.run(("apt-get", "-qq", *own, *private, "update"), check=True)
    subprocess.run(("apt-get", "-qq", *own, *private, "download", *packages), cwd=into, check=True)


def free_of_fixed_directory(binary: Path) -> None:
    """Let an unpacked Alertmanager binary read its templates from descriptor 9.

    Debian compiles in the directory that the package installs. Unpacked without root it does not exist, so our
    copy gets another path of the same length, and the wrapper opens that descriptor.
    """
    replacement = "/proc/self/fd/9".ljust(len(TEMPLATES), "/")
    patched = binary.read_bytes().replace(TEMPLATES.encode(), replacement.encode())
    binary.write_bytes(patched)


def wrap(link: Path, binary: str) -> None:
    """Write a wrapper that opens the templates and becomes the binary, so that its pid stays the one started."""
    link.write_text(
        "#!/bin/sh\n"
        'here=$(dirname "$(readlink -f "$0")")/..\n'
        f'exec 9<"$here{TEMPLATES}"\n'
        f'exec "$here/usr/bin/{binary}" "$@"\n',
        encoding="utf-8",
    )
    link.chmod(0o755)


def unpack(tools: Sequence[str], home: Path) -> None:
    """Download and unpack `tools` beside `home`, then take its place in one step."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".fetch-") as scratch_name:
        scratch = Path(scratch_name)
        archives, tree = scratch / "archives", scratch / "tree"
        archives.mkdir()
        download(sorted({PACKAGE[tool] for tool in tools}), archives, scratch)
        for archive in sorted(archives.glob("*.deb")):
            subprocess.run(("dpkg", "-x", str(archive), str(tree)), check=True)
        (tree / "bin").mkdir()
        for tool in tools:
            if tool in ("alertmanager", "amtool"):
                binary = DEBIAN_NAME.get(tool, tool)
                free_of_fixed_directory(tree / "usr" / "bin" / binary)
                wrap(tree / "bin" / tool, binary)
            else:
                (tree / "bin" / tool).symlink_to(f"../usr/bin/{tool}")
        if home.exists():
            shutil.rmtree(home)
        tree.rename(home)


def missing(home: Path) -> list[str]:
    """The tools that are neither installed nor unpacked in `home`."""
    return [tool for tool in TOOLS if installed(tool) is None and not os.access(home / "bin" / tool, os.X_OK)]


def main(argv: Sequence[str]) -> int:
    """Bring the tools; `argv` may name another directory than `.tools`."""
    home = Path(argv[0]) if argv else Path(__file__).resolve().parent.parent / ".tools"
    if not missing(home):
        return 0
    absent = [needed for needed in ("apt-get", "dpkg") if shutil.which(needed) is None]
    reason = f"this system has no {' and no '.join(absent)}" if absent else ""
    if not absent:
        wanted = [tool for tool in TOOLS if installed(tool) is None]
        print("fetching", ", ".join(wanted), "into", home.name, file=sys.stderr)
        try:
            unpack(wanted, home)
        except (subprocess.CalledProcessError, OSError) as error:
            reason = str(error)
    still = missing(home)
    if still:
        print(f"error: cannot get {', '.join(still)}: {reason or 'not in the packages'}", file=sys.stderr)
        print(f"hint: install {', '.join(TOOLS[:-1])} and {TOOLS[-1]} on PATH, and run this again", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
