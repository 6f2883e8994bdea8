"""Detectors: one file each, found through the entry-point group ``dnsvigil.detectors``."""
