"""Flows in nfcapd files, read by the program nfdump, with the interface of pynfdump."""

from dnsvigil.sources.netflow.dumper import Dumper, flow_stats_file, search_file
from dnsvigil.sources.netflow.flow_file import flow_files
from dnsvigil.sources.netflow.process import DamagedFileError, Limits, NFDumpError, NFDumpLimitError
from dnsvigil.sources.netflow.text import PROTOCOLS, Flow

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
