"""Reports: results as text, and progress while they are made."""
