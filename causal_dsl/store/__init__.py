"""The store: one way in which blocks, fitted features, trained networks and results are kept on disk, each with what it belongs to.

Files are written whole or not at all (:mod:`files`), tensors with a hash of their content (:mod:`tensors`), under a key
made of one declared list of inputs (:mod:`keys`). Every file of the user that is read goes through :mod:`reads`, which
is how it comes onto that list.
"""
