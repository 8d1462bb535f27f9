"""The loops around rules and passes on CUDA; imported only when a device is used."""
