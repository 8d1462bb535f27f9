"""Many parameters at once: their groups, gradients, names and state."""
