"""Describe the machine that the work runs on and its current state. All calls of macOS's command-line tools are in ``apple``."""
