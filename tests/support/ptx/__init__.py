"""CUDA kernels without a GPU: compile them to PTX, and run the PTX on NumPy arrays.

`compile` makes PTX from Python with no driver, `parser` reads it, `interpreter` runs all threads of a grid at once,
`arithmetic` holds what single instructions compute and `memory` the places that they load from and store to.
"""
