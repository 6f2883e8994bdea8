"""What runs the expressions of features."""
