"""Reads from the kernel what psutil does not: files below /proc and /sys, netlink, system calls.

Each file begins with what psutil lacks. Times are CPU time, measured with psutil 7.2 on a small virtual machine of two
cores (Linux 6.18), unless noted otherwise.
"""
