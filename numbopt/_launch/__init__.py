"""Which memory a kernel works on, and when it runs."""
