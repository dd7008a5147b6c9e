"""A user's project as it is tested: its files and functions, its own test suite run confined. See README.md."""
