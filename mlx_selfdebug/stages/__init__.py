"""The stages of a run: what orchestrates the other rooms. See README.md."""
