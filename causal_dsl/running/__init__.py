"""From a checked spec to results: networks by their keys, what is found before a plan is run, and the run itself."""
