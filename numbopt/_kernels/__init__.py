"""What is compiled: the only place with ``numba.njit``."""
