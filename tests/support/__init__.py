"""What several tests use: verdicts, settings, runs and commands made by hand."""
