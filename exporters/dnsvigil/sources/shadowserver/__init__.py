"""Reports of Shadowserver: CSV files of hosts that its scans found open."""
