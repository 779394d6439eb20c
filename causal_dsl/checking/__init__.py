"""From the text of a spec to a checked program with its plan, and every fault."""
