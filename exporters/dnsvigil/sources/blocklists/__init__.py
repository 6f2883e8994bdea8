"""Lists of bad domains that the operator drops in a folder."""
