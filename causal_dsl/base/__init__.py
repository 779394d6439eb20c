"""Everything that all stages stand on: random numbers by keys, classes that are quick to make, faults of this package, and its own files."""
