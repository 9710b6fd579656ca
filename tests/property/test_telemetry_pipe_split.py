"""However the pipe cuts the bytes, the same samples come out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from stage4.telemetry.sample import Sample, SampleParser, encode

SAMPLES = st.lists(
    st.builds(
        Sample,
        seq=st.integers(0, 2**53),
        at=st.integers(0, 10**15).map(lambda us: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)),
        schedule=st.text(max_size=20),
        risk_profile=st.text(max_size=10),
        values=st.dictionaries(st.text(max_size=30), st.floats(allow_nan=False, allow_infinity=False), max_size=5),
        flags=st.dictionaries(st.text(max_size=10), st.booleans(), max_size=3),
    ),
    max_size=8,
)


@given(samples=SAMPLES, cuts=st.lists(st.integers(1, 200), max_size=30))
def test_any_split_of_the_bytes_gives_the_same_samples(samples: list[Sample], cuts: list[int]) -> None:
    content = b"".join(map(encode, samples))
    parser, got = SampleParser(), []
    for cut in cuts:
        piece, content = content[:cut], content[cut:]
        got += parser.feed(piece)
    got += parser.feed(content)
    assert got == samples
    assert parser.malformed == 0
