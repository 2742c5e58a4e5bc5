"""Why this label: what Teacher and Student look at."""
