"""The numbers of controls: what nothing claims is taken from other inputs, and what is claimed is held against it."""
