"""Write your own algorithm: Lion, in about 25 lines, with everything that numbopt's own optimizers have.

Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, arXiv:2302.06675) moves every parameter by the
same distance, in the direction of a momentum. The formula is one function of scalars; param groups, state, checks,
hooks, checkpoints and threads come from numbopt. Here it fits a logistic regression beside numbopt.AdamW.
"""

import math
import sys

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import numbopt


def signed(size, x):
    """Return size * sign(x). Neither comparison holds for 0 and NaN: 0 gives no step, NaN stays visible."""
    return math.copysign(size, x) if x < -x or x > -x else x


@numbopt.rule(state="exp_avg", scalars="one_minus_beta1 one_minus_beta2 lr")
def lion(p, g, state, h):
    """Return the new value of one parameter and of its state; numbopt compiles this for all of them."""
    (m,) = state
    direction = m + h.one_minus_beta1 * (g - m)
    m = m + h.one_minus_beta2 * (g - m)
    return p - signed(h.lr, direction), (m,)


class Lion(numbopt.ElementwiseOptimizer):
    """Lion: p -= lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p); m = beta2 * m + (1 - beta2) * g."""

    rule = lion
    options = {"lr": numbopt.options.LR, "betas": numbopt.options.BETAS, "weight_decay": numbopt.options.WEIGHT_DECAY}  # noqa: RUF012
    decoupled_weight_decay = True

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, *, maximize=False):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize))

    @staticmethod
    def advance(o, clock):
        """Return the clock after this step and the scalars of the rule: computed once a step, in double precision."""
        (step,) = clock
        beta1, beta2 = o.betas
        return (step + 1,), (1 - beta1, 1 - beta2, o.lr)


L2 = 0.01  # a penalty in the loss gives all solvers the same minimum, which decoupled weight decay would not
STEPS = 1000


def loss_and_gradients(x, sign, w, b):
    """Return mean(log(1 + exp(-sign * (x @ w + b)))) + L2 / 2 * w @ w and its gradients for w and b."""
    margin = sign * (x @ w + b)
    slope = -sign / (1 + np.exp(margin)) / len(x)
    return np.logaddexp(0, -margin).mean() + L2 / 2 * (w @ w), slope @ x + L2 * w, slope.sum()


def fit(optimizer_class, lr, x, sign):
    """Return the loss after STEPS steps with a learning rate that falls to zero."""
    w, b = numbopt.Parameter(np.zeros(x.shape[1]), name="w"), numbopt.Parameter(0.0, name="b")
    opt = optimizer_class([w, b], lr=lr, weight_decay=0)

    def closure():
        opt.zero_grad()
        loss, gw, gb = loss_and_gradients(x, sign, w.data, b.data)
        w.grad += gw
        b.grad += gb
        return loss

    for step in range(STEPS):
        opt.param_groups[0]["lr"] = lr * (1 - step / STEPS)
        opt.step(closure)
    return loss_and_gradients(x, sign, w.data, b.data)[0]


def main():
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    sign = 2.0 * y - 1

    exact = LogisticRegression(C=1 / (L2 * len(x)), tol=1e-10, max_iter=10_000).fit(x, y)
    minimum = loss_and_gradients(x, sign, exact.coef_[0], exact.intercept_[0])[0]
    adamw, lion = fit(numbopt.AdamW, 0.03, x, sign), fit(Lion, 0.01, x, sign)
    print(f"logistic regression on {len(x)} patients, loss after {STEPS} steps (from {np.log(2):.6f}):")
    print(f"  Lion                {lion:.6f}")
    print(f"  numbopt.AdamW       {adamw:.6f}")
    print(f"  scikit-learn's fit  {minimum:.6f}")
    if not max(lion, adamw) < 1.001 * minimum:
        sys.exit("FAILED: Lion or AdamW is more than 0.1 % above scikit-learn's minimum")


if __name__ == "__main__":
    main()
