"""SciPy's front."""
