"""A GPU to test on, a real one or one in software, and the libraries with arrays on it."""
