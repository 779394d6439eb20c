"""All rows of a pass, intervened on or not, through the layers together: every layer's weights are met once."""
