"""Units of a run on several workers: who runs which (:mod:`scheduler`), and the processes that do it, by Ray.

A worker puts what it computed into the store of ``--out`` and returns nothing else, so a run goes on after the death of a worker, of a
machine or of the driver as it does after Ctrl-C: what is stored is found. Only ``run --workers`` and ``run --cluster`` import Ray.
"""
