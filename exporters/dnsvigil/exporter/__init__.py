"""What leaves the collector: /metrics."""
