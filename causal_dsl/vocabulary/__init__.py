"""The words of the language: one frozen record each, from which everything else is derived."""
