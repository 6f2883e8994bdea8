"""The configuration files of the operator."""
