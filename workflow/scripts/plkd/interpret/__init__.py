"""Why this label: patterns and genes behind the predictions."""
