"""The layout of a decoder that no record describes: found by running it, and proved at load as every other is."""
