"""The machine the work is done on: what it is, and how it is at the moment. Everything asked of macOS is in ``apple``."""
