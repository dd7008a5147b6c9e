"""Turn tests for unittest and pytest, and the examples in docstrings and interactive sessions, into plain asserts.

See README.md.
"""
