"""Find out whether the checks of a task can be trusted. See README.md."""
