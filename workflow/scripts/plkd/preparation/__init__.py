"""From published files to cells that a model can take."""
