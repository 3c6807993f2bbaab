"""C++ for CPUs, built at first use and called through `jax.ffi`."""
