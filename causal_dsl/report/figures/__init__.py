"""Results as figures: what is drawn of a test (`pictures`), in one style (`figure_style`), as Altair charts (`charts`) and files."""
