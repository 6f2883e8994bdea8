"""Lists of bad domains that the operator puts in a folder."""
