"""What a collector gives, as plain text and numbers."""

from __future__ import annotations

from dnsvigil.resolver.scrape import Collector

PREFIX = "dnsvigil_resolver_"


def collected(collector: Collector) -> dict[str, float]:
    """Return the samples, such as ``{"sockets tcp ipv4 53 listen": 1}``: label values in the order of the labels."""
    samples: dict[str, float] = {}
    for metric in collector.collect():
        for sample in metric.samples:
            assert sample.name.startswith(PREFIX)
            key = " ".join([sample.name.removeprefix(PREFIX), *sample.labels.values()])
            assert key not in samples
            samples[key] = sample.value
    return samples


def chosen(samples: dict[str, float], *words: str) -> dict[str, float]:
    """Return the samples that have all these words in their key."""
    return {key: value for key, value in samples.items() if set(words) <= set(key.split())}
