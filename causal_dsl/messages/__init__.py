"""Ways to make a diagnostic: of a word of the command line, of an exception that no stage foresaw; and the base of all that a notebook shows."""
