"""Benchmarks for asv. What they measure with stands beside this folder and is shared with the reports."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
