"""Why this label: pathways and genes behind the predictions."""
