"""What people and other programs ask the collector for, beside /metrics."""
