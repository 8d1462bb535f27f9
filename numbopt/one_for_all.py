"""Optimizers with numbers that all parameters share, such as one step size that is found while they step."""

from typing import Any, ClassVar

from numbopt.elementwise import ElementwiseOptimizer


class OneForAll(ElementwiseOptimizer):
    """An optimizer whose groups share some options that steps change, which take the place of a clock."""

    clock_names = ()
    depends_on_parameters = True
    torch_flags = ("maximize",)

    one_for_all: ClassVar[tuple[str, ...]] = ()
    """Names of these options."""

    def _prepared(self, param_group: dict[str, Any], taken: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        shared = {name: self.param_groups[0][name] for name in self.one_for_all} if self.param_groups else {}
        return super()._prepared({**shared, **param_group}, taken)

    def _checked_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        checked = super()._checked_groups(groups)
        for name in self.one_for_all:
            values = [options[name] for options in checked]
            if len(set(values)) > 1:
                raise ValueError(f"{name} must be the same in all groups, got {values}")
        return checked
