"""One file per algorithm: its rule, the names of its state, its defaults with their valid ranges, its scalars."""
