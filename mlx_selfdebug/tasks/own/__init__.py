"""Tasks made of what a user has: folders of a statement, a reference and tests, or the tested functions of a package."""
