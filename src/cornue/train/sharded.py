"""The moving weights of a student that is spread over several processes (FSDP2).

Each process holds a slice of every weight, its gradient and its moments; layers are gathered while they are used. Sums
over processes are sums, not means, since the weights of a step are already divided by the whole step. Checkpoints hold
whole tensors, so a run may go on with another number of processes, up to rounding.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Partial, distribute_tensor

from cornue.train import processes
from cornue.train.weights import Weights


class ShardedWeights(Weights):
    """``Weights`` of which each process holds a slice."""

    def _spread(self, dtype: torch.dtype) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._mesh = init_device_mesh(device, (processes.count(),))
        self._whole = copy.deepcopy(self.model)
        head, body = self.model.get_output_embeddings(), self.model.get_decoder()
        tied = head.weight is body.get_input_embeddings().weight
        compute = None if dtype == torch.float32 else dtype
        policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
        parts = [*body.layers, body] if tied else [*body.layers, body, head]
        for part in parts:
            spread: Any = fully_shard(part, mesh=self._mesh, mp_policy=policy, reshard_after_forward=True)
            spread.set_force_sum_reduction_for_comms(True)
            spread.set_gradient_divide_factor(1.0)
        if tied:
            head.weight = body.get_input_embeddings().weight
        self.moving = {name: param for name, param in self.model.named_parameters() if param.requires_grad}
        self.masters = self.moving

    def add_gradient(self, param: Tensor, gradient: Tensor) -> None:
        """Add everybody's gradient of a whole weight to the slices."""
        master = self._master_of.get(param)
        if isinstance(master, DTensor):
            whole = DTensor.from_local(gradient.float(), self._mesh, [Partial("sum")], run_check=False)
            own = whole.redistribute(placements=master.placements)
            master.grad = own if master.grad is None else master.grad.add_(own)

    def moments(self) -> dict[str, Tensor]:
        """The optimiser's state, gathered."""
        return {name: _gather(value) for name, value in super().moments().items()}

    def values(self) -> dict[str, Tensor]:
        """The moving weights, gathered."""
        return {name: _gather(value) for name, value in super().values().items()}

    def restore(self, values: dict[str, Tensor], moments: dict[str, Tensor] | None = None) -> None:
        """Take slices of what ``values`` and ``moments`` gave."""
        placed = {name: self._slice(name, value) for name, value in values.items()}
        kept = {key: self._slice(key.split("/", 1)[1], value) for key, value in (moments or {}).items()}
        super().restore(placed, kept or None)

    def finish(self) -> Any:
        """The plain model, gathered in every process."""
        values = {name: _gather(param.detach()) for name, param in self.model.named_parameters()}
        self.model = self._whole
        with torch.no_grad():
            for name, param in self.model.named_parameters():
                param.copy_(values[name])
        self.moving, self.masters = {}, {}
        return super().finish()

    def _slice(self, name: str, value: Tensor) -> Tensor:
        master = self.masters[name]
        if not isinstance(master, DTensor) or not value.ndim:
            return value
        return distribute_tensor(value, self._mesh, master.placements)


def _gather(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value
