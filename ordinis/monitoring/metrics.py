"""Counters and histograms of the allocation service, in the text format that Prometheus scrapes.

They live in a registry of their own, made by a function: two applications in one process (a test, a replica beside
its successor) count apart. Labels are closed sets, route templates, status codes and allocator names, never what a
client wrote, so that no client can make a million series.
"""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; the goal for a whole cycle is a median of 12 ms."""


@dataclass(frozen=True)
class ServiceMetrics:
    registry: CollectorRegistry
    requests: Counter
    seconds: Histogram
    allocations: Counter

    def request(self, route: str, status: int, seconds: float) -> None:
        self.requests.labels(route=route, status=str(status)).inc()
        self.seconds.labels(route=route).observe(seconds)

    def allocation(self, allocator: str, rung: str) -> None:
        self.allocations.labels(allocator=allocator, rung=rung).inc()

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


def service_metrics() -> ServiceMetrics:
    """Fresh metrics, all at zero."""
    registry = CollectorRegistry(auto_describe=True)
    return ServiceMetrics(
        registry=registry,
        requests=Counter(
            "ordinis_http_requests", "Requests answered.", labelnames=("route", "status"), registry=registry
        ),
        seconds=Histogram(
            "ordinis_http_request_seconds",
            "Time from a request's first line to its answer's last byte.",
            labelnames=("route",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        ),
        allocations=Counter(
            "ordinis_allocations",
            "Allocations answered, by who made them and on which rung of the ladder.",
            labelnames=("allocator", "rung"),
            registry=registry,
        ),
    )
