"""Check proofs: read the scripts, refuse what is no tactic, and have a proof checker run them, confined."""
