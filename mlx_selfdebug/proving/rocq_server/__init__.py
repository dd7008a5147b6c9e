"""The confined process that drives Rocq. Its modules import nothing of the package but each other, as it cannot read the rest."""
