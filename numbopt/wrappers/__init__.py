"""Objects that follow an optimizer."""
