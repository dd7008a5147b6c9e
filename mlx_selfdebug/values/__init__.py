"""The nouns of the loop: what the rooms hand to each other. See README.md."""
