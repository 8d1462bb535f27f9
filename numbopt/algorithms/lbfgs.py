"""L-BFGS."""

from collections.abc import Mapping
from typing import Any, ClassVar

from numbopt._kernels.quasi_newton import state as qn
from numbopt.options import CONSTRAINTS, UNBOUNDED, integer, one_of
from numbopt.vectorwise import VectorOptimizer


class LBFGS(VectorOptimizer):
    r"""Limited-memory BFGS [1]_, driven by a closure that it evaluates several times in a step.

    .. math::
        x_{k+1} = x_k - t_k H_k \nabla f(x_k)

    with the inverse Hessian :math:`H_k` of the last steps and gradient changes, and a step length :math:`t_k` that is
    ``lr`` or found by a line search [2]_ that also accepts what rounding lets it see of a minimum [3]_.

    Parameters
    ----------
    params : iterable
        Parameters, arrays or pairs of name and parameter; see `Optimizer`. One group only.
    lr : float
        Length of steps along the direction, with a line search of the first trial.
    max_iter : int
        Largest number of iterations in a step.
    max_eval : int, optional
        Largest number of evaluations in a step, a hard limit. Default ``max_iter * 5 // 4``, with a line search at
        least ``max_iter + 1``.
    tolerance_grad : float
        A step ends when no element of the gradient is larger.
    tolerance_change : float
        A step ends when the loss, or each element of the parameters, changes by less.
    history_size : int
        Number of past steps that are remembered. Memory is ``2 * history_size`` vectors.
    line_search_fn : None or "strong_wolfe"
        None takes steps of length ``lr``, as torch does, and takes a step back that led to NaN or infinity.
        "strong_wolfe" searches along each direction: fewer evaluations, no step uphill, no scale to tune.
    bounds : (lower, upper), optional
        Numbers, arrays that broadcast to the shape of each parameter, or None. The closure is never evaluated outside
        them [4]_. Needs "strong_wolfe", and real parameters on the CPU; a start outside is moved inside, with a
        warning. The gradient in ``tolerance_grad`` is then the projected one. A ``history_size`` of 10 to 20 is enough:
        an iteration takes time for matrices of twice that size.

    Notes
    -----
    ``step(closure)`` returns the loss at which it began. The closure returns the loss, or ``(loss, grads)``. With a
    line search, parameters and gradients are afterwards those of the best point found. `result` says how it went.

    Gradients of one step are never paired with those of another, so the closure may change from step to step; with
    ``line_search_fn=None`` they are, as in torch.

    State, with the first parameter: ``func_evals``, ``n_iter``, the direction ``d``, the step length ``t``, steps
    ``old_stps``, gradient changes ``old_dirs``, ``ro``, ``H_diag``, ``prev_flat_grad``, ``prev_loss``.

    References
    ----------
    .. [1] J. Nocedal, "Updating quasi-Newton matrices with limited storage", Mathematics of Computation 35, 1980.
    .. [2] J. J. Moré, D. J. Thuente, "Line search algorithms with guaranteed sufficient decrease", ACM Transactions on
       Mathematical Software 20, 1994.
    .. [3] W. W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent and an efficient line
       search", SIAM Journal on Optimization 16, 2005.
    .. [4] R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained optimization", SIAM
       Journal on Scientific Computing 16, 1995.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([-1.2, 1.0])
    >>> def rosenbrock():
    ...     a, b = 1 - x[0], x[1] - x[0] ** 2
    ...     return float(a**2 + 100 * b**2), [np.array([-2 * a - 400 * b * x[0], 200 * b])]
    >>> opt = numbopt.LBFGS([x], max_iter=100, line_search_fn="strong_wolfe")
    >>> round(opt.step(rosenbrock), 6)
    24.2
    >>> x.round(3)
    array([1., 1.])
    >>> opt.result.message
    'no element of the gradient exceeds tolerance_grad'
    """

    options: ClassVar = dict(
        VectorOptimizer.options, history_size=integer(low=1), line_search_fn=one_of(None, "strong_wolfe")
    )

    common_options: ClassVar = {"bounds": CONSTRAINTS["bounds"]}

    def __init__(
        self,
        params: Any,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-5,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
        *,
        bounds: tuple[Any, Any] | None = None,
    ) -> None:
        defaults = dict(
            lr=lr, max_iter=max_iter, max_eval=max_eval, history_size=history_size, line_search_fn=line_search_fn
        )
        tolerances = dict(tolerance_grad=tolerance_grad, tolerance_change=tolerance_change)
        super().__init__(params, defaults | tolerances | ({} if bounds is None else {"bounds": bounds}))

    def core_rule(self, options: Mapping[str, Any]) -> int:
        """Return the rule with or without a line search, or the one within bounds."""
        if options["line_search_fn"] is None:
            return qn.FIXED_STEP
        return qn.LBFGS if options.get("bounds", UNBOUNDED) is UNBOUNDED else qn.BOUNDED

    def check_together(self, options: Mapping[str, Any]) -> None:
        """Refuse bounds without a line search."""
        if options["bounds"] is not UNBOUNDED and options["line_search_fn"] is None:
            raise ValueError("bounds need line_search_fn='strong_wolfe': steps of a fixed length do not keep to them")

    def history_size(self, options: Mapping[str, Any]) -> int:
        """Return the number of pairs."""
        return int(options["history_size"])
