"""What the server counts, in the words of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one server; each server has its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "selftaught_requests_total", "Answers by path and status.", ["path", "status"], registry=self._registry
        )
        self.hangups = Counter(
            "selftaught_hangups_total", "Clients that left before their answer ended.", registry=self._registry
        )
        self.read = Counter("selftaught_prompt_tokens_total", "Prompt tokens.", ["model"], registry=self._registry)
        self.drawn = Counter("selftaught_drawn_tokens_total", "Tokens drawn.", ["model"], registry=self._registry)
        self.slots = Gauge("selftaught_slots", "Slots there are.", ["model"], registry=self._registry)
        self.busy = Gauge("selftaught_slots_in_use", "Slots in use.", ["model"], registry=self._registry)
        self.waiting = Gauge("selftaught_texts_waiting", "Texts without a slot.", ["model"], registry=self._registry)
        self.first = Histogram(
            "selftaught_first_token_seconds",
            "From a request to the first token of a text.",
            ["model"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self.whole = Histogram(
            "selftaught_text_seconds",
            "From a request to the end of a text.",
            ["model"],
            registry=self._registry,
            buckets=_SECONDS,
        )

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
