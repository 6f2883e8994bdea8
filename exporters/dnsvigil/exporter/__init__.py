"""What leaves the collector: /metrics and its landing page."""
