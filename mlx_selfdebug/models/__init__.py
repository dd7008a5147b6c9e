"""Models: from a name to a network and its tokenizer. ``load`` is the way in; ``resolve`` does all of it that needs no mlx."""
