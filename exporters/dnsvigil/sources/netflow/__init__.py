"""Flows in nfcapd files, read by the program nfdump, with the interface of pynfdump."""

from dnsvigil.sources.netflow.nfdump import (
    PROTOCOLS,
    DamagedFileError,
    Dumper,
    Flow,
    Limits,
    NFDumpError,
    NFDumpLimitError,
    flow_files,
    flow_stats_file,
    search_file,
)

__all__ = [
    "PROTOCOLS",
    "DamagedFileError",
    "Dumper",
    "Flow",
    "Limits",
    "NFDumpError",
    "NFDumpLimitError",
    "flow_files",
    "flow_stats_file",
    "search_file",
]
