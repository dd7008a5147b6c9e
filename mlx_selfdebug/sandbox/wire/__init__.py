"""Encode values and frames as bytes, and exchange them at the trusted end of a channel."""
