"""Labels on cells."""
