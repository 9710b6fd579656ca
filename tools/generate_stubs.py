"""Makes the committed gRPC stubs from metrics.proto; a test compares them with a fresh run."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
PROTO = "stage4/telemetry/proto/metrics.proto"


def generate(out: Path) -> None:
    """Write metrics_pb2.py, metrics_pb2.pyi and metrics_pb2_grpc.py below `out`."""
    from grpc_tools import protoc

    well_known = resources.files("grpc_tools").joinpath("_proto")
    arguments = ["protoc", f"-I{SOURCE}", f"-I{well_known}"]
    arguments += [f"--{kind}={out}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    if protoc.main([*arguments, PROTO]) != 0:
        raise SystemExit(f"protoc refused {PROTO}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE)
