"""Counts for monitoring, in the text format of Prometheus."""

import collections
from collections.abc import Mapping

# Upper bounds in seconds.
_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Counters:
    """Requests by status, their time, and pixels."""

    def __init__(self) -> None:
        self._statuses: collections.Counter[int] = collections.Counter()
        self._buckets = [0] * len(_BOUNDS)
        self._seconds = 0.0
        self.pixels = 0

    def add(self, status: int, seconds: float) -> None:
        """Counts an answered request."""
        self._statuses[status] += 1
        self._seconds += seconds
        for place, bound in enumerate(_BOUNDS):
            self._buckets[place] += seconds <= bound

    def text(self, gauges: Mapping[str, float], totals: Mapping[str, float]) -> str:
        """Returns all counts, with further gauges and totals by name."""
        lines = ["# TYPE tfdeblur_requests_total counter"]
        lines += [
            f'tfdeblur_requests_total{{status="{status}"}} {count}'
            for status, count in sorted(self._statuses.items())
        ]
        lines.append("# TYPE tfdeblur_request_seconds histogram")
        for bound, count in zip(_BOUNDS, self._buckets, strict=True):
            lines.append(f'tfdeblur_request_seconds_bucket{{le="{bound}"}} {count}')
        answered = self._statuses.total()
        lines += [
            f'tfdeblur_request_seconds_bucket{{le="+Inf"}} {answered}',
            f"tfdeblur_request_seconds_sum {self._seconds:.6f}",
            f"tfdeblur_request_seconds_count {answered}",
        ]
        for kind, values in (
            ("counter", {"pixels_total": self.pixels, **totals}),
            ("gauge", gauges),
        ):
            for name, value in values.items():
                lines += [f"# TYPE tfdeblur_{name} {kind}", f"tfdeblur_{name} {value}"]
        return "\n".join(lines) + "\n"
