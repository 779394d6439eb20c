"""The families of features: each module holds its records in ``FAMILY`` and the functions that make their maps.

``check`` reads the records, so no module here imports torch, or what does, at its top.
"""
