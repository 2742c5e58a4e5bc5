"""Pictures: one module per subject; each ``plot_*`` returns a figure in the shared style."""
