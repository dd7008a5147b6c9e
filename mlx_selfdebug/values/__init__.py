"""The values that the other packages pass to each other, such as tasks, attempts and verdicts. See README.md."""
