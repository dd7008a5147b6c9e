"""Turn the name of a model into a network and its tokenizer.

Start with ``load.py``, which needs mlx. ``resolve.py`` finds or fetches a model's folder without mlx.
"""
