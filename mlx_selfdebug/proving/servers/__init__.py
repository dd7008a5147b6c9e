"""The confined processes that drive the checkers. Their modules import nothing but each other, as they cannot read the rest."""
