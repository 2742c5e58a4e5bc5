"""What can be chosen. Standard library only: Snakemake imports this room itself."""
