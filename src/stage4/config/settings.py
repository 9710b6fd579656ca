"""
The settings of one installation, as frozen and validated values.

Section and field names are those of the field's existing `core.yaml` files; `operations` is ours. Paths are
kept as written and resolve against the installation root (`Installation.path`).

Annotations are evaluated as they are written: as texts every command would compile them again.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Percent = Annotated[float, Meta(gt=0, le=100)]
# YAML has numbers without end; what is compared with one is never late, and no text can name it.
ENDLESS = 1e15
Number = Annotated[float, Meta(ge=-ENDLESS, le=ENDLESS)]
Positive = Annotated[float, Meta(gt=0, le=ENDLESS)]
NotNegative = Annotated[float, Meta(ge=0, le=ENDLESS)]
Days = Annotated[float, Meta(gt=0, le=36_500)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]
DurationText = Annotated[str, Meta(pattern=r"^(\d+(\.\d+)?(ms|s|m|h|d))+$")]
TimeOfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Window = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sections: frozen, by keyword."""


class RbacToken(Section, frozen=True, kw_only=True):
    """A token of a service; exactly one of the three sources names its secret."""

    token_id: str
    token_env: str | None = None
    token_file: str | None = None
    token_hash: str | None = None
    scopes: tuple[str, ...] = ()
    san: str | None = None


class ScheduleSettings(Section, frozen=True, kw_only=True):
    """When a strategy is evaluated, and within which limits."""

    strategy: str
    cadence_seconds: Positive
    max_drift_seconds: Positive = 10.0
    drift_policy: Literal["run", "skip", "halt"] = "skip"
    warmup_bars: Annotated[int, Meta(ge=0)] = 0
    risk_profile: str = "balanced"
    max_signals: Count = 4
    interval: str = "1m"
    max_silence_seconds: Positive | None = None
    trading_windows: tuple[Window, ...] = ()
    tags: tuple[str, ...] = ()


class SchedulerSettings(Section, frozen=True, kw_only=True):
    """One multi-strategy scheduler."""

    schedules: dict[str, ScheduleSettings]
    telemetry_namespace: str = "runtime.multi_strategy.core"
    decision_log_category: str = "runtime.scheduler.core"
    health_check_interval: Positive = 120.0
    rbac_tokens: tuple[RbacToken, ...] = ()


class ServiceTls(Section, frozen=True, kw_only=True):
    """Transport security of a service."""

    enabled: bool = False
    require_client_auth: bool = False
    certificate_path: str | None = None
    private_key_path: str | None = None
    client_ca_path: str | None = None
    pinned_fingerprints: tuple[str, ...] = ()


class MetricsService(Section, frozen=True, kw_only=True):
    """The gRPC service that streams the scheduler's metrics."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8741
    auth_token_env: str | None = None
    auth_token_file: str | None = None
    rbac_tokens: tuple[RbacToken, ...] = ()
    grpc_metadata: dict[str, str] = {}
    tls: ServiceTls = ServiceTls()


class ResourceLimits(Section, frozen=True, kw_only=True):
    """What the scheduler may use of the machine."""

    cpu_percent: Percent = 65.0
    memory_mb: Positive = 2048.0
    io_read_mb_s: Positive = 120.0
    io_write_mb_s: Positive = 80.0
    headroom_warning_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.8


class Runtime(Section, frozen=True, kw_only=True):
    """The operated environment."""

    multi_strategy_schedulers: dict[str, SchedulerSettings] = {}
    metrics_service: MetricsService = MetricsService()
    # Another program's: stage4 runs none, but audits how it is protected where the settings have it.
    risk_service: MetricsService = MetricsService(enabled=False)
    resource_limits: ResourceLimits = ResourceLimits()


class Mtls(Section, frozen=True, kw_only=True):
    """The certificate bundle of the installation."""

    bundle_directory: str = "secrets/mtls"
    ca_certificate: str | None = None
    server_certificate: str | None = None
    server_key: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    crls: tuple[str, ...] = ()
    rotation_registry: str = "var/security/tls_rotation.json"


class LiveDecisionLog(Section, frozen=True, kw_only=True):
    """Where the live router writes its decisions and with which key."""

    path: str = "audit/decision_logs/runtime.jsonl"
    hmac_key_env: str | None = None
    hmac_key_path: str | None = None
    key_id: str | None = None


class LiveRouter(Section, frozen=True, kw_only=True):
    """The live order router."""

    decision_log: LiveDecisionLog = LiveDecisionLog()


class Execution(Section, frozen=True, kw_only=True):
    """How orders leave the environment."""

    mtls: Mtls = Mtls()
    live_router: LiveRouter = LiveRouter()


class RotationEntry(Section, frozen=True, kw_only=True):
    """One key under rotation."""

    key: str
    purpose: str
    interval_days: Days | None = None
    warn_within_days: Days | None = None


class KeyRotation(Section, frozen=True, kw_only=True):
    """The rotation policy of keys that are not TLS certificates."""

    registry_path: str = "var/security/key_rotation.json"
    default_interval_days: Days = 90.0
    default_warn_within_days: Days = 14.0
    audit_directory: str = "var/audit/keys"
    entries: tuple[RotationEntry, ...] = ()


class Observability(Section, frozen=True, kw_only=True):
    """What watches the environment."""

    key_rotation: KeyRotation = KeyRotation()


class DataQuality(Section, frozen=True, kw_only=True):
    """When market data may be trusted."""

    max_staleness_seconds: Positive = 30.0
    max_gap_seconds: Positive = 300.0


class RiskProfile(Section, frozen=True, kw_only=True):
    """Limits of one risk profile; per cents of equity."""

    max_daily_loss_pct: Percent = 1.5
    max_position_pct: Percent = 10.0
    target_volatility: Positive = 0.1
    hard_drawdown_pct: Percent = 8.0
    strategy_allocations: dict[str, NotNegative] = {}
    data_quality: DataQuality = DataQuality()


class MeanReversion(Section, frozen=True, kw_only=True):
    """Parameters of a mean-reversion strategy; z-scores are in standard deviations."""

    lookback: Annotated[int, Meta(ge=3)] = 60
    entry_zscore: Positive = 1.8
    exit_zscore: NotNegative = 0.4


class VolatilityTarget(Section, frozen=True, kw_only=True):
    """Parameters of a volatility-target strategy; volatility per year, threshold as a ratio of the allocation."""

    lookback: Annotated[int, Meta(ge=3)] = 60
    target_volatility: Positive = 0.1
    rebalance_threshold: Positive = 0.05
    max_leverage: Positive = 2.0


class CrossExchangeArbitrage(Section, frozen=True, kw_only=True):
    """Parameters of an arbitrage between two venues; spreads as a ratio of the price."""

    primary_exchange: str
    secondary_exchange: str
    spread_entry: Positive = 0.0008
    spread_exit: NotNegative = 0.0002
    max_secondary_delay_ms: Positive = 500.0


class IncidentTimers(Section, frozen=True, kw_only=True):
    """The times of PLAYBOOK.md, "How the rules are read"; the defaults are the playbook's."""

    escalate_after: DurationText = "5m"
    primary_repeat: DurationText = "2m"
    deputy_after: DurationText = "5m"
    incident_manager_after: DurationText = "10m"
    ack_reminder: DurationText = "10m"
    ack_lapse: DurationText = "15m"
    no_signals_after: DurationText = "15m"
    loss_multiple: Positive = 3.0
    step_time_limit: DurationText = "15m"


class CheckpointPlace(Section, frozen=True, kw_only=True):
    """A place outside that takes checkpoints: a directory, or an HTTP endpoint with its token."""

    directory: str | None = None
    url: Annotated[str, Meta(pattern=r"^https?://[^/?#]+")] | None = None
    token_env: str | None = None
    token_file: str | None = None

    def __post_init__(self) -> None:
        if (self.directory is None) == (self.url is None):
            raise ValueError("expected exactly one of directory and url")
        if (self.url is None or self.token_env is not None) and self.token_file is not None:
            raise ValueError("token_file belongs to a url without token_env")
        if self.url is None and self.token_env is not None:
            raise ValueError("token_env belongs to a url")


class CheckpointSettings(Section, frozen=True, kw_only=True):
    """When checkpoints of the decision log are made, where they are left, and the keys that were pinned."""

    every_entries: Count = 1000
    every_minutes: Positive = 15.0
    places: tuple[CheckpointPlace, ...] = ()
    pin: str | None = None


class OperationsLog(Section, frozen=True, kw_only=True):
    """The decision log of the installation and its key ring."""

    path: str | None = None
    keyring: str = "secrets/decision_log/keyring.json"
    archive_over_mb: Annotated[int, Meta(ge=0)] = 64
    checkpoints: CheckpointSettings = CheckpointSettings()


class Monitoring(Section, frozen=True, kw_only=True):
    """Where the monitoring stands; an address that is not set is not used."""

    prometheus_url: str | None = None
    alertmanager_url: str | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 8742
    runbook_base: str = "http://127.0.0.1:8740/docs/runbooks"


class Limits(Section, frozen=True, kw_only=True):
    """A warning and a critical threshold."""

    warning: Number
    critical: Number


class Notifier(Section, frozen=True, kw_only=True):
    """One way to reach people; secrets stand in a file."""

    id: str
    kind: Literal["file", "slack"]
    path: str | None = None
    url_file: str | None = None
    channel: str = "#ops-trading"


class Service(Section, frozen=True, kw_only=True):
    """The incident service: its page and intake on TCP, its commands on a private Unix socket."""

    host: str = "127.0.0.1"
    port: Port = 8740
    socket: str = "var/run/service.sock"
    rbac_tokens: tuple[RbacToken, ...] = ()


class WatchdogSettings(Section, frozen=True, kw_only=True):
    """When `stage4 watchdog` looks, stops a scheduler that does not beat, and how long after that it ends it."""

    look_every: DurationText = "1s"
    stop_after: DurationText = "10s"
    kill_after: DurationText | None = "10s"


class Feed(Section, frozen=True, kw_only=True):
    """Where market data come from."""

    kind: Literal["synthetic", "csv", "json_lines"] = "synthetic"
    seed: int = 20230311
    weather: Literal["calm", "stormy"] = "calm"
    symbol: str = "BTC/USD"
    paths: tuple[str, ...] = ()
    speed: Positive = 1.0
    start_equity: Positive = 1_000_000.0


class Operations(Section, frozen=True, kw_only=True):
    """What is ours: the incident operations of this installation."""

    installation: Literal["demo", "drill", "production"] = "production"
    installation_id: str = "unnamed"
    language: Literal["pl", "en"] = "pl"
    time_zone: str = "Europe/Warsaw"
    decision_log: OperationsLog = OperationsLog()
    incident: IncidentTimers = IncidentTimers()
    daily_loss_limit_pct: Percent = 2.0
    day_starts: TimeOfDay = "00:00"
    monitoring: Monitoring = Monitoring()
    thresholds: dict[str, dict[str, Limits]] = {}
    oncall_file: str = "ops/oncall_rotation.yaml"
    operators_file: str = "ops/operators.yaml"
    support_playbook: str = "playbooks/stage4_support.yaml"
    notifiers: tuple[Notifier, ...] = ()
    service: Service = Service()
    watchdog: WatchdogSettings = WatchdogSettings()
    storage_url: str = "sqlite:///var/stage4.db"
    feed: Feed = Feed()


class Settings(Section, frozen=True, kw_only=True):
    """Everything in `config/core.yaml` that stage4 knows."""

    runtime: Runtime = Runtime()
    execution: Execution = Execution()
    observability: Observability = Observability()
    risk_profiles: dict[str, RiskProfile] = {}
    mean_reversion_strategies: dict[str, MeanReversion] = {}
    volatility_target_strategies: dict[str, VolatilityTarget] = {}
    cross_exchange_arbitrage_strategies: dict[str, CrossExchangeArbitrage] = {}
    operations: Operations = Operations()
