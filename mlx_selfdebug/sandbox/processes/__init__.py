"""The processes of a test run: how they are started, what they run, how they end."""
