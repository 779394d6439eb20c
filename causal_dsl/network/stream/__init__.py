"""Networks whose weights stay in their files, and are read layer by layer as they are needed."""
