"""Rows out of files, directories, the hub and memory."""
