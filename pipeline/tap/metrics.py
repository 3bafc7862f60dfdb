"""The tap's counters, and their text for Prometheus."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_Labels = tuple[str, str, str, str]  # workload, provider, arm, status


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

    def text(self, waiting: int) -> str:
        """The Prometheus text; `waiting` is how many records the recorder still holds."""
        names = ("workload", "provider", "arm", "status")
        calls = {_labels(zip(names, key, strict=True)): n for key, n in self.calls.items()}
        errors = {_labels([("error", kind)]): n for kind, n in self.upstream_errors.items()}
        mirroring = {
            _labels([("workload", workload), ("reason", reason)]): n
            for (workload, reason), n in self.mirroring.items()
        }
        grading = {_labels([("outcome", outcome)]): n for outcome, n in self.grading.items()}
        lines = [
            *_metric("calls_total", "counter", "Calls by outcome.", calls),
            *_metric("recorded_total", "counter", "Calls given to the recorder.", self.recorded),
            *_metric(
                "recording_errors_total",
                "counter",
                "Calls whose recording failed.",
                self.recording_errors,
            ),
            *_metric("upstream_errors_total", "counter", "Providers that did not answer.", errors),
            *_metric(
                "plan_errors_total", "counter", "Plans that could not be used.", self.plan_errors
            ),
            *_metric(
                "mirroring_total", "counter", "Calls mirrored, or why they were not.", mirroring
            ),
            *_metric("grading_total", "counter", "Shadow answers offered to the judge.", grading),
            *_metric("in_flight", "gauge", "Calls under way.", self.in_flight),
            *_metric("recorder_waiting", "gauge", "Records not yet handed on.", waiting),
        ]
        return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, help_text: str, values: int | dict[str, int]) -> list[str]:
    full = f"cutover_tap_{name}"
    samples = values if isinstance(values, dict) else {"": values}
    return [
        f"# HELP {full} {help_text}",
        f"# TYPE {full} {kind}",
        *(f"{full}{labels} {value}" for labels, value in samples.items()),
    ]


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
