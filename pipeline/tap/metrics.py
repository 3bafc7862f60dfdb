"""The tap's counters, and their text for Prometheus."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client import generate_latest
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.tap.recording import Recorder

_Labels = tuple[str, str, str, str]  # workload, provider, arm, status
_Key = TypeVar("_Key", bound=tuple[str, ...])


@dataclass
class Metrics:
    """Counters since the start; `in_flight` goes up and down."""

    calls: Counter[_Labels] = field(default_factory=Counter)
    recorded: int = 0
    recording_errors: int = 0
    upstream_errors: Counter[str] = field(default_factory=Counter)
    plan_errors: int = 0
    in_flight: int = 0
    mirroring: Counter[tuple[str, str]] = field(default_factory=Counter)  # by workload and reason
    grading: Counter[str] = field(default_factory=Counter)  # of shadow answers, by outcome

    def text(self, recorder: Recorder) -> bytes:
        """The Prometheus text: these counters, and how much still waits in the recorder."""
        registry = CollectorRegistry()
        registry.register(_Once([*self._counters(), *_gauges(self.in_flight, recorder)]))
        return generate_latest(registry)

    def _counters(self) -> Iterator[Metric]:
        yield _counter(
            "calls", "calls by outcome", ("workload", "provider", "arm", "status"), self.calls
        )
        yield _counter("recorded", "calls given to the recorder", (), {(): self.recorded})
        yield _counter(
            "recording_errors", "calls whose recording failed", (), {(): self.recording_errors}
        )
        errors = {(error,): count for error, count in self.upstream_errors.items()}
        yield _counter("upstream_errors", "providers that did not answer", ("error",), errors)
        yield _counter("plan_errors", "plans that could not be used", (), {(): self.plan_errors})
        yield _counter(
            "mirroring",
            "calls mirrored, or why they were not",
            ("workload", "reason"),
            self.mirroring,
        )
        outcomes = {(outcome,): count for outcome, count in self.grading.items()}
        yield _counter("grading", "shadow answers offered to the judge", ("outcome",), outcomes)


class _Once(Collector):
    """Metrics as they stand now."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _counter(name: str, text: str, labels: Sequence[str], values: Mapping[_Key, int]) -> Metric:
    family = CounterMetricFamily(f"cutover_tap_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauges(in_flight: int, recorder: Recorder) -> Iterator[Metric]:
    yield GaugeMetricFamily("cutover_tap_in_flight", "calls under way", value=in_flight)
    yield GaugeMetricFamily(
        "cutover_tap_recorder_waiting", "records that are not in Kafka yet", value=recorder.waiting
    )
    yield GaugeMetricFamily(
        "cutover_tap_recorder_fullness",
        "share of the room for waiting records that is used; at 1 they are dropped and counted",
        value=recorder.fullness,
    )
