"""Take an adapter along."""
