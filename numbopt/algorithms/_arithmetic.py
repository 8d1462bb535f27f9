"""Formulas that several rules share."""

import math


def larger(a, b):
    """Return the maximum of two numbers, NaN if one of them is."""
    return a if a > b or a != a else b


def weighted(old, new, weight_old, weight_new):
    """Return the mean of two numbers with weights that sum to one: exactly ``new`` for a ``weight_old`` of zero."""
    return weight_old * old + weight_new * new


def signed(size, x):
    """Return ``size * sign(x)``: 0 for 0, NaN for NaN."""
    return size if x > 0 else -size if x < 0 else x


def trust_ratio(squares: float, others: float, coefficient: float = 1.0) -> float:
    """Return a coefficient times the ratio of two norms, given their squares; 1 if one of them is 0."""
    return coefficient * math.sqrt(squares / others) if squares and others else 1.0
