"""Reads what lies in object stores and in HDFS."""
