"""Describe the machine that the work runs on and its current state. Every command-line tool of macOS is called in ``apple``."""
