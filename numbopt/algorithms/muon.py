"""Muon: momentum whose singular values are made equal."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import numpy as np

from numbopt._devices.arrays import copy_values, to_host
from numbopt._kernels.norms import clip_coefficient
from numbopt._kernels.rule import rule
from numbopt._launch.calls import Calls
from numbopt._parameters.gradients import Given, Gradients
from numbopt.algorithms._arithmetic import weighted
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.optimizer import GroupOptions
from numbopt.options import LR, WEIGHT_DECAY, Number, Options, Several, flag, integer, one_of
from numbopt.parameter import Parameter


@rule(state="momentum_buffer direction", scalars="momentum one_minus_momentum lr")
def muon(p, g, state, h):
    """Go along a direction that was computed from the momentum before."""
    b, direction = state
    return p - h.lr * direction, (weighted(b, g, h.momentum, h.one_minus_momentum), direction)


class Muon(ElementwiseOptimizer):
    r"""Muon [1]_, for matrices: a momentum whose singular values are made equal by Newton-Schulz iterations [2]_.

    .. math::
        b_t &= \mu b_{t-1} + (1 - \mu) g_t, \qquad u_t = (1 - \mu) g_t + \mu b_t \quad\text{or}\quad b_t \\
        p_t &= (1 - \gamma \lambda) p_{t-1} - \gamma r \operatorname{NS}(u_t)

    with :math:`X_0 = u / \max(\|u\|_F, \epsilon)` and
    :math:`X_{k+1} = a X_k + (b A + c A^2) X_k`, :math:`A = X_k X_k^H`. The iterations run in the dtype of the
    parameter; torch runs them in bfloat16, whatever that is.

    Parameters
    ----------
    params : iterable
        Parameters of two dimensions, see `Optimizer`. Let `AdamW` have the others.
    lr : float
        Learning rate :math:`\gamma`.
    weight_decay : float
        Decoupled weight decay :math:`\lambda`.
    momentum : float
        :math:`\mu`, in [0, 1].
    nesterov : bool
        Use the first form of :math:`u`.
    ns_coefficients : three floats
        :math:`a, b, c`.
    eps : float
        :math:`\epsilon`.
    ns_steps : int
        Number of iterations, less than 100.
    adjust_lr_fn : {None, "original", "match_rms_adamw"}
        For a parameter of shape (A, B), :math:`r` is :math:`\sqrt{\max(1, A / B)}`, or with "match_rms_adamw"
        :math:`0.2 \sqrt{\max(A, B)}`.
    **common
        See `ElementwiseOptimizer`.

    Raises
    ------
    ValueError
        Also for parameters that do not have two dimensions.

    Notes
    -----
    State: ``momentum_buffer`` :math:`b`. One more array of the size of the parameter is kept to work with. For
    parameters on a GPU, the host does the matrix products.

    References
    ----------
    .. [1] K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    .. [2] J. Liu et al., "Muon is scalable for LLM training", 2025, arXiv:2502.16982.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.zeros((2, 2))
    >>> opt = numbopt.Muon([x], lr=0.1, ns_steps=9)
    >>> opt.step(grads=[np.array([[3.0, 0.0], [0.0, 0.001]])])
    >>> bool(np.all(-np.diag(x) > 0.06))
    True
    """

    rule = muon
    clock_names = ()
    decoupled_weight_decay = True
    torch_flags = ("maximize",)
    options: ClassVar = dict(
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        momentum=Number("momentum value", low=0, high=1),
        nesterov=flag,
        ns_coefficients=Several(*[Number("Newton-Schulz coefficient")] * 3),
        eps=Number("epsilon value", low=0),
        ns_steps=integer(low=0),
        adjust_lr_fn=one_of(None, "original", "match_rms_adamw"),
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        **common: Unpack[Maximizable],
    ) -> None:
        defaults = dict(lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)
        iterations = dict(ns_coefficients=ns_coefficients, eps=eps, ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn)
        super().__init__(params, defaults | iterations, **common)

    def check_together(self, options: Mapping[str, Any]) -> None:
        """Refuse very many iterations."""
        if options["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency (ns_steps)")

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the clock, which is empty, and the scalars of this step."""
        return clock, (o.momentum, 1 - o.momentum, o.lr)

    def _taking_parameters(self, parameters: list[Parameter], added: list[GroupOptions]) -> Calls:
        for known in added:
            for parameter in known.params:
                if parameter.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with size: "
                        f"{tuple(parameter.shape)}; give it to AdamW"
                    )
        return super()._taking_parameters(parameters, added)

    def _prepare(self, gradients: Gradients, given: Given, scale: float) -> None:
        """Compute the directions; as they are no state, nothing has changed if this fails."""
        norm = self.grad_norm
        if self.max_grad_norm is not None and norm is not None:  # on a GPU, it is not in `scale`
            scale = clip_coefficient(self.max_grad_norm, norm)
        for position, known in enumerate(self._group_of):
            gradient = gradients.array(position, given)
            if gradient is not None:
                arrays, sign = self._tables.arrays_of(position), -1.0 if known.values["maximize"] else 1.0
                momentum = to_host(arrays["momentum_buffer"])
                copy_values(arrays["direction"], direction(to_host(gradient), momentum, sign * scale, known.values))

    def _state_of(self, position: int) -> dict[str, Any]:
        state = super()._state_of(position)
        state.pop("direction", None)
        return state


def direction(gradient: Any, momentum: Any, scale: float, o: Mapping[str, Any]) -> Any:
    """Return the direction of a step, a matrix in proportion to the learning rate."""
    number = momentum.real.dtype.type
    gradient = number(scale) * gradient.astype(momentum.dtype, copy=False)
    u = weighted(momentum, gradient, number(o["momentum"]), number(1 - o["momentum"]))
    if o["nesterov"]:
        u = weighted(gradient, u, number(1 - o["momentum"]), number(o["momentum"]))
    rows, columns = u.shape
    if o["adjust_lr_fn"] == "match_rms_adamw":
        ratio = 0.2 * math.sqrt(max(rows, columns))
    else:
        ratio = math.sqrt(max(1.0, rows / columns)) if columns else 1.0
    return number(ratio) * orthogonalized(u, o["ns_coefficients"], o["ns_steps"], o["eps"])


def orthogonalized(matrix: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """Return a matrix with the singular vectors of another one and singular values near 1."""
    x = matrix.conj().T if matrix.shape[0] > matrix.shape[1] else matrix
    number = x.real.dtype.type
    a, b, c = map(number, coefficients)
    norm = max(float(np.linalg.norm(x)), eps)
    x = x / number(norm) if norm else x
    for _ in range(steps):
        gram = x @ x.conj().T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.conj().T if matrix.shape[0] > matrix.shape[1] else x
