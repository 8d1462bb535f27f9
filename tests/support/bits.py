"""Comparing to the last bit."""

import struct

import numpy as np


def assert_same_bits(actual, expected, where="value"):
    """Compare nested dicts, lists and tuples of arrays and plain values: types, keys and their order, and bits."""
    if isinstance(expected, np.generic):  # on some systems two types are one dtype
        assert isinstance(actual, np.generic), where
        assert (actual.dtype, actual.tobytes()) == (expected.dtype, expected.tobytes()), where
        return
    assert type(actual) is type(expected), where
    if isinstance(expected, np.ndarray):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), where
        if actual.tobytes() != expected.tobytes():
            np.testing.assert_array_equal(actual, expected, err_msg=where)
            raise AssertionError(f"{where}: equal numbers of other bits")
    elif isinstance(expected, dict):
        assert list(actual) == list(expected), where
        assert [type(key) for key in actual] == [type(key) for key in expected], where
        for key in expected:
            assert_same_bits(actual[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), where
        for number, pair in enumerate(zip(actual, expected, strict=True)):
            assert_same_bits(*pair, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert struct.pack(">d", actual) == struct.pack(">d", expected), where
    elif isinstance(expected, complex):
        assert_same_bits((actual.real, actual.imag), (expected.real, expected.imag), where)
    else:
        assert actual == expected, where
