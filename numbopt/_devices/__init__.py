"""Where memory is: the host or a GPU."""
