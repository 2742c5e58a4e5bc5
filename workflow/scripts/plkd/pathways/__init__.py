"""Which genes feed which token."""
