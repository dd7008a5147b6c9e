"""Edit search: small changes of a failed program, tried in the order in which the model finds the changed program likely."""
