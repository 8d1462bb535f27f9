"""The loops around rules and passes on the CPU."""
