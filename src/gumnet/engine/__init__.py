"""Where batches run: this process, several processes or devices of this machine, or a Dask cluster.

`gumnet.engine.run.run` hands out a `gumnet.engine.work.Work` in batches of indices and yields small results; what
fails is tried again and then reported by particle. The result does not depend on where it was made.
"""
