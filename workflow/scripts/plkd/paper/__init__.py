"""Every number and claim of the paper beside what is found here."""
