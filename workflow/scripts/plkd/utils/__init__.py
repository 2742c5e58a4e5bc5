"""Files that are whole or absent, logs, devices, tables."""
