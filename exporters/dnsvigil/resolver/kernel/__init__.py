"""What the kernel says, by files below /proc and /sys and by netlink."""
