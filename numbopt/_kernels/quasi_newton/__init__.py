"""L-BFGS and conjugate gradients as compiled functions that are told values and gradients."""
