"""The tables that tests run over: optimizers, schedulers, problems, and what torch made of them."""
