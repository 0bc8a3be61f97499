"""metrics_text: the status of a run in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from camlink.carry.account import Histogram
from camlink.runtime.status import LinkStatus, RunStatus

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_EDGES_MS: Final = tuple(2.0**octave / 1e3 for octave in range(4, 27))  # 16 us to 67 s
_VERDICTS: Final = ("complete", "degraded", "failed")
_LINK: Final[tuple[tuple[str, str, str], ...]] = (
    ("sent", "counter", "Frames that left the sender for the first time"),
    ("received", "counter", "Frames that came to a receiver"),
    ("acknowledged", "counter", "Frames that the receivers are done with"),
    ("resent", "counter", "Frames that went again after a receiver was lost"),
    ("in_flight", "gauge", "Frames sent and neither acknowledged nor lost"),
    ("bytes", "counter", "Bytes sent"),
    ("queue_bytes", "gauge", "Bytes that wait on the link"),
    ("limit_bytes", "gauge", "Bytes that may wait on the link"),
)


def metrics_text(status: RunStatus | None) -> str:
    """One line a figure; only a comment before the first status."""
    if status is None:
        return "# no run yet\n"
    return "\n".join(_lines(status)) + "\n"


def _lines(status: RunStatus) -> Iterator[str]:
    yield from _head("camlink_run_info", "gauge", "The run that is shown")
    yield f"camlink_run_info{_labels(workflow=status.workflow, scan=status.scan)} 1"
    yield from _head("camlink_run_elapsed_seconds", "gauge", "Time since the beginning of the run")
    yield f"camlink_run_elapsed_seconds {status.elapsed_s:.3f}"
    yield from _head("camlink_run_verdict", "gauge", "1 for the verdict, once the run is over")
    for verdict in _VERDICTS:
        yield f"camlink_run_verdict{_labels(verdict=verdict)} {int(status.verdict == verdict)}"
    yield from _head("camlink_frames", "gauge", "Where the frames of the scan are")
    for name in ("expected", "captured", "delivered", "damaged", "in_flight"):
        yield f"camlink_frames{_labels(state=name)} {status.frames.get(name, 0)}"
    yield from _head("camlink_frames_lost", "gauge", "Frames that were lost, by reason")
    for reason, count in status.frames.get("lost", {}).items():
        yield f"camlink_frames_lost{_labels(reason=reason)} {count}"
    yield from _operators(status)
    for name, kind, text in _LINK:
        metric = f"camlink_link_{name}" + ("_total" if kind == "counter" else "")
        yield from _head(metric, kind, text)
        for link in status.links:
            yield f"{metric}{_of(link)} {getattr(link, name)}"
    yield from _by_reason(status)
    for name, text in (("age_ms", "Age of blocks since capture at their arrival"),
                       ("hop_ms", "Time on this link alone")):
        metric = f"camlink_link_{name.removesuffix('_ms')}_seconds"
        yield from _head(metric, "histogram", text)
        for link in status.links:
            yield from _histogram(metric, link.name, link.age_histogram if name == "age_ms" else link.hop_histogram)
        longest = metric.replace("_seconds", "_max_seconds")
        yield from _head(longest, "gauge", f"{text}: the longest")
        for link in status.links:
            yield f"{longest}{_labels(link=link.name)} {getattr(link, name).get('max', 0.0) / 1e3:.6f}"


def _histogram(metric: str, link: str, found: Histogram) -> Iterator[str]:
    """Blocks up to each edge, the same edges at every scrape; all of them, and the sum of their times."""
    for edge_ms in _EDGES_MS:
        below = sum(n for edge, n in zip(found.edges_ms, found.blocks, strict=True) if edge <= edge_ms)
        yield f"{metric}_bucket{_labels(link=link, le=f'{edge_ms / 1e3:.6f}')} {below}"
    count = sum(found.blocks)
    yield f"{metric}_bucket{_labels(link=link, le='+Inf')} {count}"
    yield f"{metric}_sum{_labels(link=link)} {found.sum_ms / 1e3:.6f}"
    yield f"{metric}_count{_labels(link=link)} {count}"


def _operators(status: RunStatus) -> Iterator[str]:
    for name, kind, text in (("restarts", "counter", "How often a worker of the operator was replaced"),
                             ("repeated", "counter", "Frames that came again and were left out"),
                             ("replicas", "gauge", "Workers of the operator that are not over")):
        metric = f"camlink_operator_{name}" + ("_total" if kind == "counter" else "")
        yield from _head(metric, kind, text)
        for operator in status.operators:
            yield f"{metric}{_labels(operator=operator.name)} {getattr(operator, name)}"
    yield from _head("camlink_operator_set_aside_total", "counter", "Frames in the dead letters, by reason")
    for operator in status.operators:
        for reason, count in operator.aside.items():
            yield f"camlink_operator_set_aside_total{_labels(operator=operator.name, reason=reason)} {count}"


def _by_reason(status: RunStatus) -> Iterator[str]:
    for name in ("dropped", "lost"):
        metric = f"camlink_link_{name}_total"
        yield from _head(metric, "counter", f"Frames {name}, by reason")
        for link in status.links:
            for reason, count in getattr(link, name).items():
                yield f"{metric}{_labels(link=link.name, reason=reason)} {count}"


def _head(metric: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {metric} {text}."
    yield f"# TYPE {metric} {kind}"


def _of(link: LinkStatus) -> str:
    return _labels(link=link.name, kind=link.kind, policy=link.policy)


def _labels(**labels: str) -> str:
    def clean(text: str) -> str:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{name}="{clean(text)}"' for name, text in labels.items()) + "}"
