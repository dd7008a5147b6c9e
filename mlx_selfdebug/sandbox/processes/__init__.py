"""Start the processes of test runs and confined commands, define what they run, and record how they end."""
