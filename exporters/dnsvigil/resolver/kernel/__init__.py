"""What the kernel says by files below /proc and /sys, by netlink and by system calls, as far as psutil does not.

Each file says what psutil lacks. Times are CPU time, measured with psutil 7.2 on a small virtual machine of two cores
(Linux 6.18), unless noted otherwise.
"""
