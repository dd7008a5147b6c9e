"""Public task sets: each file reads one set's published form into tasks. ``tasks/load.py`` knows them by name."""
