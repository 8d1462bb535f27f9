"""What new processes take: import, the first step, and what they compile."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import interleaved

FIRST_STEP = "import numpy as np, numbopt; numbopt.Adam([np.zeros(10)]).step(grads=[np.ones(10)])"


class FreshCaches:
    """Folders of their own for all that Python and Numba compile, in a ``with`` block.

    Bytecode lies there after the first process, as it does after an installation.
    """

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.machine_code = Path(self._folder.name, "numba")
        self._environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": self._folder.name,
            "NUMBA_CACHE_DIR": str(self.machine_code),
        }
        return self

    def __exit__(self, *exception):
        self._folder.cleanup()

    def seconds(self, program):
        """Run a program in a new process and return the time from its start to its end."""
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, env=self._environment)
        return time.perf_counter() - start

    def forget_machine_code(self):
        for path in self.machine_code.rglob("*.nb?"):
            path.unlink()

    def compiled(self):
        """Return how many functions have been compiled for all processes."""
        return len(list(self.machine_code.rglob("*.nbc")))


def import_against_numpy():
    with FreshCaches() as caches:
        caches.seconds("import numbopt")
        return interleaved(lambda: caches.seconds("import numbopt"), lambda: caches.seconds("import numpy"), rounds=11)


def first_step(*, warm):
    """Return the time from the start of a process to its end after one step of Adam over ten elements."""
    with FreshCaches() as caches:
        caches.seconds(FIRST_STEP)
        times = []
        for _ in range(7 if warm else 3):
            if not warm:
                caches.forget_machine_code()
            times.append(caches.seconds(FIRST_STEP))
    return statistics.median(times)
