"""What the daemon measures, in Prometheus' text format: few labels, absolute timestamps.

Gauges about findings and sweeps are read from the database when they are asked for, so that any replica answers for
all; counters are of this service.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from auditor.model.finding import Severity
from auditor.model.lookup import Outcome
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.store.outbox import DeliveryState
from auditor.store.posture import EnvironmentState

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class Metrics:
    """The counters of one service, with all its processes."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._lookups = Counter(
            "auditor_lookups", "Token lookups by how they ended", ("environment", "outcome"), registry=self._registry
        )
        self._seconds = Histogram(
            "auditor_lookup_seconds",
            "Time of a lookup with its retries",
            ("environment",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._limits = Gauge(
            "auditor_environment_concurrency_limit",
            "Requests that the environment was given at once when it was last looked at, as found by trying",
            ("environment",),
            registry=self._registry,
        )
        self._processes = Gauge("auditor_processes", "Processes of this service that live", registry=self._registry)
        self._processes.set(1)
        self._sweeps = Counter(
            "auditor_sweeps", "Sweeps that ended, by status", ("environment", "status"), registry=self._registry
        )
        self._deliveries = Counter(
            "auditor_delivery_attempts",
            "Attempts to deliver an alert, by how they ended",
            ("hook", "result"),
            registry=self._registry,
        )
        self._reports = Counter(
            "auditor_reports",
            "Attempts to make a scheduled report, by how they ended",
            ("report", "result"),
            registry=self._registry,
        )

        self._removed = Counter(
            "auditor_rows_removed",
            "Rows removed since they were older than [retention] keeps them, by kind",
            ("kind",),
            registry=self._registry,
        )

    def count_processes(self, count: Callable[[], int]) -> None:
        """Ask this for how many processes there are, whenever somebody wants to know."""
        self._processes.set_function(count)

    def looked_up(
        self, environment: str, outcomes: Mapping[Outcome, int], seconds: Sequence[float], limit: int
    ) -> None:
        """Note a batch's lookups."""
        self._limits.labels(environment).set(limit)
        for outcome, number in outcomes.items():
            self._lookups.labels(environment, outcome.value).inc(number)
        observe = self._seconds.labels(environment).observe
        for duration in seconds:
            observe(duration)

    def swept(self, summary: SweepSummary) -> None:
        """Note a sweep's end."""
        self._sweeps.labels(summary.environment, summary.status.value).inc()

    def delivered(self, hook: str, state: str) -> None:
        """Note how one attempt at a delivery ended."""
        self._deliveries.labels(hook, state).inc()

    def reported(self, report: str, result: str) -> None:
        """Note how one attempt to make a report ended."""
        self._reports.labels(report, result).inc()

    def removed(self, kind: str, rows: int) -> None:
        """Note that rows of a kind were removed, as older than they are kept."""
        self._removed.labels(kind).inc(rows)

    def render(
        self,
        environments: Sequence[EnvironmentState],
        findings: Mapping[str, Mapping[Severity, int]],
        waived: Mapping[str, Mapping[Severity, int]],
        deliveries: Mapping[tuple[str, DeliveryState], int],
        oldest_pending: Mapping[str, datetime],
        reports: Mapping[str, datetime],
    ) -> bytes:
        """Return everything as text: the counters of this service, and gauges of what the database says."""
        gauges = CollectorRegistry()
        gauges.register(_Snapshot(_gauges(environments, findings, waived)))
        gauges.register(_Snapshot(_delivery_gauges(deliveries, oldest_pending)))
        gauges.register(_Snapshot([_report_gauge(reports)]))
        return generate_latest(self._registry) + generate_latest(gauges)


class _Snapshot:
    """Metrics that were made already, as a collector."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _gauges(
    environments: Sequence[EnvironmentState],
    findings: Mapping[str, Mapping[Severity, int]],
    waived: Mapping[str, Mapping[Severity, int]],
) -> Iterable[Metric]:
    for name, meaning, counts in (
        ("auditor_findings_open", "Open findings that no waiver covers", findings),
        ("auditor_findings_waived", "Open findings that a waiver covers", waived),
    ):
        gauge = GaugeMetricFamily(name, meaning, labels=("environment", "severity"))
        for environment in environments:
            for severity in Severity:
                number = counts.get(environment.name, {}).get(severity, 0)
                gauge.add_metric((environment.name, severity.value), number)
        yield gauge

    finished = GaugeMetricFamily(
        "auditor_sweep_finished_timestamp_seconds", "When the last sweep ended, Unix time", labels=("environment",)
    )
    complete = GaugeMetricFamily(
        "auditor_sweep_complete_timestamp_seconds",
        "When a sweep last gave evidence about every token, Unix time",
        labels=("environment",),
    )
    coverage = GaugeMetricFamily(
        "auditor_sweep_coverage_ratio", "Share of tokens with evidence in the last sweep", labels=("environment",)
    )
    tokens = GaugeMetricFamily(
        "auditor_sweep_tokens", "Tokens of the last sweep, by how their lookup ended", labels=("environment", "result")
    )
    succeeded = GaugeMetricFamily(
        "auditor_sweep_succeeded", "Whether the last sweep reached its end", labels=("environment",)
    )
    for environment in environments:
        name = environment.name
        if environment.last_complete_at is not None:
            complete.add_metric((name,), environment.last_complete_at.timestamp())
        last = environment.last_sweep
        if last is None or last.finished_at is None:
            continue
        finished.add_metric((name,), last.finished_at.timestamp())
        succeeded.add_metric((name,), float(last.status is not SweepStatus.FAILED))
        if last.coverage is not None:
            coverage.add_metric((name,), last.coverage)
        for result in ("found", "missing", "refused", "failed"):
            tokens.add_metric((name, result), getattr(last, result))
    yield from (finished, complete, coverage, tokens, succeeded)


def _delivery_gauges(
    deliveries: Mapping[tuple[str, DeliveryState], int], oldest_pending: Mapping[str, datetime]
) -> Iterable[Metric]:
    states = GaugeMetricFamily(
        "auditor_deliveries", "Deliveries that are kept, by state; dead ones were given up", labels=("hook", "state")
    )
    for hook in sorted({hook for hook, _state in deliveries}):
        for state in DeliveryState:
            states.add_metric((hook, state.value), deliveries.get((hook, state), 0))
    oldest = GaugeMetricFamily(
        "auditor_delivery_oldest_pending_timestamp_seconds",
        "Since when the oldest pending delivery waits, Unix time; absent where none does",
        labels=("hook",),
    )
    for hook, since in oldest_pending.items():
        oldest.add_metric((hook,), since.timestamp())
    yield from (states, oldest)


def _report_gauge(reports: Mapping[str, datetime]) -> Metric:
    made = GaugeMetricFamily(
        "auditor_report_made_timestamp_seconds", "When each report was last made, Unix time", labels=("report",)
    )
    for name, at in reports.items():
        made.add_metric((name,), at.timestamp())
    return made
