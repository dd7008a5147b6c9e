"""Starts the processes of a test run, says what they run, and records how they end."""
