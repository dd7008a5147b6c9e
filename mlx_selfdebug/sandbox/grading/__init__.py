"""Checks to facts: rewriting asserts, running them against a remote candidate, recording what failed."""
