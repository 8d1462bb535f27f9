"""Runs of torch's optimizers, which those of numbopt are compared with."""

import numpy as np
import torch
from cases import problem

from support.trajectory import parameter_groups

SUPPORTED_TORCH = "2.13.0"
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")  # the classes with fused kernels on CUDA, for real numbers


class TorchRun:
    """A run of torch's optimizer; its loop over single tensors is the reference."""

    def __init__(self, case, dtype, grouping, *, device="cpu", fused=False):
        self._device = device
        self.parameters = [torch.nn.Parameter(self._tensor(p)) for p in problem.starting_parameters(dtype)]
        options = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in case.options.items()
        }
        implementation = {"fused": True} if fused else {"foreach": False}  # most classes know no fused
        groups = parameter_groups(case, self.parameters, grouping)
        self.optimizer = getattr(torch.optim, case.cls)(groups, **implementation, **options)

    def _tensor(self, array):
        return torch.from_numpy(array).to(self._device)

    def step(self, gradients):
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else self._tensor(gradient)
        self.optimizer.step()

    def values(self):
        return [parameter.detach().cpu().numpy().copy() for parameter in self.parameters]

    def states(self):
        return [
            {name: tensor.cpu().numpy().copy() for name, tensor in self.optimizer.state[parameter].items()}
            for parameter in self.parameters
        ]


def torch_closure(function, parameter, step):
    def closure():
        loss, gradient = function(parameter.detach().numpy(), step)
        parameter.grad = torch.from_numpy(gradient)
        return loss

    return closure


def with_arrays(value):
    """Replace the tensors in a state_dict by arrays that do not share their memory."""
    match value:
        case torch.Tensor():
            return value.numpy().copy()
        case dict():
            return {key: with_arrays(entry) for key, entry in value.items()}
        case list():
            return [with_arrays(entry) for entry in value]
    return value
