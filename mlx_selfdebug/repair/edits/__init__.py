"""Search for a small edit of a failed program that passes. Edits are tried in order of how likely the model finds them."""
