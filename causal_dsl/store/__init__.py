"""What is kept on disk, and what it belongs to: one way for blocks, fitted features, trained networks and results.

Files are written whole or not at all (:mod:`files`), tensors with a hash of their content (:mod:`tensors`), under a key
made of one declared list of inputs (:mod:`keys`). Every file of the user that is read goes through :mod:`reads`, which
is how it comes onto that list.
"""
