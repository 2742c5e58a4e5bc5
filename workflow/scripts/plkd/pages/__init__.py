"""Pages for a browser: of a query and its labels."""
