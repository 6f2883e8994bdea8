"""The state on disk: counters, summaries and cursors in one DuckDB file."""
