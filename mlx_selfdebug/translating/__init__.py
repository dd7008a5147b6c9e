"""Turn the tests of unittest, pytest, docstrings and interactive sessions into plain asserts. See README.md."""
