"""What tests share: ways to run and to compare, a GPU in software, an interpreter of PTX."""
