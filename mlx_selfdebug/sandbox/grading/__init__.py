"""Turn checks into facts: rewrite their asserts, run them against a remote candidate and record what failed."""
