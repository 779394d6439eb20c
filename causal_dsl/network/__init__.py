"""Networks: loaded, their sites found and proved, and one forward pass in which sites are read and written."""
