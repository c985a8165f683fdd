"""Configs of other preference trainers, read as they are meant there and written as configs of this one."""
