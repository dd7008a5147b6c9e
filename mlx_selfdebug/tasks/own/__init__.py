"""Make tasks of a user's own code: of folders with a statement, a reference and tests, or of the tested functions of a project."""
