"""Search for a small edit of a failed program that passes its checks. Edits that the model finds likelier are tried first.

``candidates`` makes the edits and puts them in order, ``search`` tries them, and ``searching`` runs the searches of a stream.
"""
