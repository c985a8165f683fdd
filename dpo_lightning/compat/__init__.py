"""Every touch of another library's private parts, one function each, so that a new release fails here with its name.

A function says what it touches, why there is no public way, and what breaks when it changes; `tests/compat` holds the
name and the signature of each. No other file of the package touches a private name: `tests/compat/test_touches.py`.
"""
