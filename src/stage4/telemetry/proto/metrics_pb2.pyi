from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("installation_id", "started_at_us", "samples", "lost", "malformed", "last_seq", "last_sample_at_us", "subscribers", "sources")
    INSTALLATION_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    MALFORMED_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_SAMPLE_AT_US_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBERS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    installation_id: str
    started_at_us: int
    samples: int
    lost: int
    malformed: int
    last_seq: int
    last_sample_at_us: int
    subscribers: int
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    def __init__(self, installation_id: _Optional[str] = ..., started_at_us: _Optional[int] = ..., samples: _Optional[int] = ..., lost: _Optional[int] = ..., malformed: _Optional[int] = ..., last_seq: _Optional[int] = ..., last_sample_at_us: _Optional[int] = ..., subscribers: _Optional[int] = ..., sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("scheduler", "schedule", "strategy", "risk_profile", "last_at_us", "venue")
    SCHEDULER_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    RISK_PROFILE_FIELD_NUMBER: _ClassVar[int]
    LAST_AT_US_FIELD_NUMBER: _ClassVar[int]
    VENUE_FIELD_NUMBER: _ClassVar[int]
    scheduler: str
    schedule: str
    strategy: str
    risk_profile: str
    last_at_us: int
    venue: str
    def __init__(self, scheduler: _Optional[str] = ..., schedule: _Optional[str] = ..., strategy: _Optional[str] = ..., risk_profile: _Optional[str] = ..., last_at_us: _Optional[int] = ..., venue: _Optional[str] = ...) -> None: ...

class StreamRequest(_message.Message):
    __slots__ = ("schedules",)
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    schedules: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, schedules: _Optional[_Iterable[str]] = ...) -> None: ...

class MetricsSnapshot(_message.Message):
    __slots__ = ("seq", "at_us", "scheduler", "schedule", "strategy", "risk_profile", "values", "flags", "replayed", "dropped", "venue")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class FlagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bool
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bool] = ...) -> None: ...
    SEQ_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    RISK_PROFILE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    VENUE_FIELD_NUMBER: _ClassVar[int]
    seq: int
    at_us: int
    scheduler: str
    schedule: str
    strategy: str
    risk_profile: str
    values: _containers.ScalarMap[str, float]
    flags: _containers.ScalarMap[str, bool]
    replayed: bool
    dropped: int
    venue: str
    def __init__(self, seq: _Optional[int] = ..., at_us: _Optional[int] = ..., scheduler: _Optional[str] = ..., schedule: _Optional[str] = ..., strategy: _Optional[str] = ..., risk_profile: _Optional[str] = ..., values: _Optional[_Mapping[str, float]] = ..., flags: _Optional[_Mapping[str, bool]] = ..., replayed: _Optional[bool] = ..., dropped: _Optional[int] = ..., venue: _Optional[str] = ...) -> None: ...

class SeriesRequest(_message.Message):
    __slots__ = ("metric", "schedule", "seconds")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    metric: str
    schedule: str
    seconds: float
    def __init__(self, metric: _Optional[str] = ..., schedule: _Optional[str] = ..., seconds: _Optional[float] = ...) -> None: ...

class SeriesReply(_message.Message):
    __slots__ = ("series",)
    SERIES_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedCompositeFieldContainer[Series]
    def __init__(self, series: _Optional[_Iterable[_Union[Series, _Mapping]]] = ...) -> None: ...

class Series(_message.Message):
    __slots__ = ("labels", "points")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ..., points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("at_us", "value")
    AT_US_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    at_us: int
    value: float
    def __init__(self, at_us: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
