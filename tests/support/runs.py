"""Runs of numbopt's optimizers, in the two ways in which users give gradients."""

import numpy as np

import numbopt
from numbopt._devices.arrays import to_host
from support.trajectory import parameter_groups


class _Run:
    def __init__(self, case, grouping, parameters):
        self.parameters = parameters
        self.optimizer = getattr(numbopt, case.cls)(parameter_groups(case, parameters, grouping), **case.options)

    def values(self):
        return [np.array(parameter) for parameter in self.parameters]

    def states(self):
        return [dict(self.optimizer.state.get(parameter, {})) for parameter in self.parameters]


class ParameterRun(_Run):
    """Parameters that hold their gradients."""

    def __init__(self, case, grouping, start):
        super().__init__(case, grouping, [numbopt.Parameter(array) for array in start])

    def step(self, gradients):
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()


class DeviceRun(_Run):
    """Parameters on a GPU that hold their gradients."""

    def __init__(self, case, grouping, start):
        super().__init__(case, grouping, [numbopt.Parameter(array, device="cuda") for array in start])

    def step(self, gradients):
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else numbopt.Parameter(gradient, device="cuda").data
        self.optimizer.step()

    def values(self):
        return [parameter.to("cpu").data for parameter in self.parameters]

    def states(self):
        return [{name: to_host(value) for name, value in state.items()} for state in super().states()]


class ArrayRun(_Run):
    """Plain arrays, updated in place; the gradients are handed to the step."""

    def __init__(self, case, grouping, start):
        super().__init__(case, grouping, [array.copy() for array in start])

    def step(self, gradients):
        self.optimizer.step(grads=gradients)


def parameters_with_gradients(count, size):
    parameters = [numbopt.Parameter(np.ones(size, np.float32)) for _ in range(count)]
    for parameter in parameters:
        parameter.grad = np.ones(size, np.float32)
    return parameters
