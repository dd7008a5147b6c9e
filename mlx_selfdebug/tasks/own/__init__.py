"""Tasks made of what a user has: folders of text, reference and tests; functions of a package with its own tests."""
