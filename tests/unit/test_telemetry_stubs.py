"""The committed gRPC stubs are what metrics.proto makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from stage4.telemetry import proto

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_committed_stubs_are_those_of_the_contract(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_stubs", REPOSITORY / "tools/generate_stubs.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.generate(tmp_path)
    committed = Path(proto.__file__).parent
    made = sorted(tmp_path.rglob("metrics_pb2*"))
    assert [path.name for path in made] == ["metrics_pb2.py", "metrics_pb2.pyi", "metrics_pb2_grpc.py"]
    for path in made:
        assert path.read_text() == (committed / path.name).read_text(), f"run tools/generate_stubs.py: {path.name}"
