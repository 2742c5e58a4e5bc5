"""Formats, names and scales: from a file to clean cells x genes."""
