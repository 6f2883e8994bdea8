"""Inputs that failed unexpectedly and were set aside."""

from dnsvigil.api.interface import Answer, Parameters, Reader
from dnsvigil.api.parameters import only
from dnsvigil.config.collector import Config
from dnsvigil.store.set_aside import entries


def set_aside(reader: Reader, _: Config, asked: Parameters) -> Answer:
    """Return what is set aside, the newest first."""
    only(asked)
    return Answer([entry.record() for entry in entries(reader.read)])
