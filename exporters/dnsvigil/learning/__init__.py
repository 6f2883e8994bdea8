"""Training, evaluation and model files."""
