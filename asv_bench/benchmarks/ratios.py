"""The bars: time of numbopt / time of what it is compared with, measured side by side; the report prints the same."""

from comparisons import COMPARISONS


class Ratios:
    params = (tuple(COMPARISONS),)
    param_names = ("comparison",)
    unit = "ours / reference"

    def track_ratio(self, name):
        try:
            return COMPARISONS[name].measure().ratio
        except (ImportError, OSError):  # it is not installed
            return float("nan")
