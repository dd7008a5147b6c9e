"""Values and frames as bytes, and the trusted end of a channel."""
