"""The stages of a run, which put the other rooms to work. See README.md."""
