"""The computations inside a layer: attention by device, rotary embeddings, gates and matrix products.

Nothing here knows models or their configuration. C++ sources for CPUs are in `native/`.
"""
