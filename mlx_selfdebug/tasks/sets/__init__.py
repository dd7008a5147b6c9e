"""Public task sets. Each file reads the published form of one set into tasks, and ``tasks/load.py`` knows the sets by name."""
