"""Nonlinear conjugate gradients."""

from collections.abc import Mapping
from typing import Any, ClassVar

from numbopt._kernels.quasi_newton import state as qn
from numbopt.options import one_of
from numbopt.vectorwise import VectorOptimizer


class NonlinearCG(VectorOptimizer):
    r"""Nonlinear conjugate gradients, driven by a closure that it evaluates several times in a step.

    .. math::
        d_k = -g_k + \beta_k d_{k-1}, \qquad x_{k+1} = x_k + t_k d_k

    with the weight :math:`\beta_k` of Dai and Kou [1]_, Hager and Zhang [2]_, or Polak, Ribière and Polyak, cut off at
    zero [3]_, a line search, and a restart where a direction does not descend. It keeps a handful of vectors, whatever
    the number of iterations, where `LBFGS` keeps two for each step that it remembers.

    Parameters
    ----------
    params : iterable
        Parameters, arrays or pairs of name and parameter; see `Optimizer`. One group only.
    lr : float
        Length of the first trial, before there is a scale to learn from.
    max_iter, max_eval, tolerance_grad, tolerance_change
        As for `LBFGS`.
    direction : {"dai-kou", "hager-zhang", "polak-ribiere"}
        Which weight.

    Notes
    -----
    ``step(closure)``, `result` and the state are as for `LBFGS` with a line search, without pairs.

    References
    ----------
    .. [1] Y.-H. Dai, C.-X. Kou, "A nonlinear conjugate gradient algorithm with an optimal property and an improved
       Wolfe line search", SIAM Journal on Optimization 23, 2013.
    .. [2] W. W. Hager, H. Zhang, "A survey of nonlinear conjugate gradient methods", Pacific Journal of Optimization 2,
       2006.
    .. [3] E. Polak, G. Ribière, "Note sur la convergence de méthodes de directions conjuguées", 1969; M. J. D. Powell,
       "Nonconvex minimization calculations and the conjugate gradient method", 1984.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([3.0, -1.0])
    >>> opt = numbopt.NonlinearCG([x])
    >>> opt.step(lambda: (float(x @ x), [2 * x]))
    10.0
    >>> bool(np.abs(x).max() < 1e-5)
    True
    """

    options: ClassVar = dict(VectorOptimizer.options, direction=one_of(*qn.CONJUGATE))

    def __init__(
        self,
        params: Any,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-5,
        tolerance_change: float = 1e-9,
        direction: str = "dai-kou",
    ) -> None:
        defaults = dict(lr=lr, max_iter=max_iter, max_eval=max_eval, direction=direction)
        tolerances = dict(tolerance_grad=tolerance_grad, tolerance_change=tolerance_change)
        super().__init__(params, defaults | tolerances)

    def core_rule(self, options: Mapping[str, Any]) -> int:
        """Return the rule of the direction."""
        return qn.CONJUGATE[options["direction"]]
