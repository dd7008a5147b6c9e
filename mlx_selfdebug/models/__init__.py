"""Turn the name of a model into a network and its tokenizer.

Callers begin with ``load``. Everything that does not need mlx is in ``resolve``.
"""
