"""Table expressions that make summaries and features from records."""
