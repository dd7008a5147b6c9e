"""Start the processes of a test run, say what they run, and record how they end."""
