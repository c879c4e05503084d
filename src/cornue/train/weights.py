"""The weights of a student that move, the precision in which they move, and the optimiser that moves them.

Weights move in fp32. Where the machine computes faster in bf16, the model holds bf16 copies: each gradient is added to
its fp32 weight's as soon as it is known, and dropped. The lowest layers may stay as they are; LoRA moves low-rank
updates instead of matrices. It does not decide when to step, and knows nothing of losses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cornue.records.errors import BadInput
from cornue.records.recipe import Stage
from cornue.records.words import words
from cornue.train import lora

BETAS = (0.9, 0.99)


class Weights:
    """The moving weights of a model under one stage.

    Args:
        model: a transformers causal model in fp32; it is put in the compute type, frozen and adapted in place.
        dtype: the type in which the model computes.
        seed: of the first values of low-rank updates.

    Raises:
        BadInput: the stage freezes more layers than there are.
    """

    def __init__(self, model: Any, stage: Stage, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        self.model = model
        model.requires_grad_(True)
        _freeze(model, stage.freeze)
        if stage.lora_rank:
            lora.attach(model, stage.lora_rank, seed)
        self.moving: dict[str, Tensor] = {}
        self.masters: dict[str, Tensor] = {}
        self._hooks: list[Any] = []
        self._spread(dtype)
        self._master_of = {param: self.masters[name] for name, param in self.moving.items()}
        matrices = [weight for weight in self.masters.values() if weight.ndim > 1]
        vectors = [weight for weight in self.masters.values() if weight.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "decay": stage.weight_decay}, {"params": vectors, "decay": 0.0}],
            lr=stage.learning_rate,
            betas=(BETAS[0] ** 2, BETAS[1]),
            fused=True,
        )

    def step(self, learning_rate: float, clip: float) -> float:
        """Move by the gradients gathered so far, and forget them; returns their norm before clipping."""
        gradients = [weight.grad for weight in self.masters.values() if weight.grad is not None]
        norm: Any = torch.nn.utils.get_total_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_(self.masters.values(), clip, norm)
        self._move(learning_rate)
        self.optimiser.zero_grad(set_to_none=True)
        self._publish()
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    @torch.no_grad()
    def _move(self, rate: float) -> None:
        """AdamW with Nesterov's momentum (NAdam, Dozat 2016): what counts is the mean a gradient ahead, βm + (1 − β)g.

        From the mean of the step before, AdamW makes that with β² in β's place; the mean itself is then made of it.
        """
        states: dict[Tensor, dict[str, Any]] = self.optimiser.state
        momentum = BETAS[0]
        time = 1 + float(next(iter(states.values()), {}).get("step", 0))
        # AdamW takes the weights of its mean to add up to 1 − β²ᵗ; those of the mean ahead add up to 1 − βᵗ⁺¹.
        ahead = (1 - momentum ** (2 * time)) / (1 - momentum ** (time + 1))
        for group in self.optimiser.param_groups:
            group.update(lr=ahead * rate, weight_decay=group["decay"] / ahead)
        self.optimiser.step()
        for weight in self.masters.values():
            if weight.grad is not None:
                states[weight]["exp_avg"].lerp_(weight.grad, 1 - 1 / momentum)

    def moments(self) -> dict[str, Tensor]:
        """The optimiser's state, by the name of its weight."""
        return {
            f"{kind}/{name}": value
            for name, weight in self.masters.items()
            for kind, value in self.optimiser.state.get(weight, {}).items()
        }

    def values(self) -> dict[str, Tensor]:
        """The moving weights in fp32, by name; not a copy."""
        return {name: weight.detach() for name, weight in self.masters.items()}

    def restore(self, values: dict[str, Tensor], moments: dict[str, Tensor] | None = None) -> None:
        """Take back what ``values`` and ``moments`` gave; the tensors given are copied."""
        with torch.no_grad():
            for name, weight in self.masters.items():
                weight.copy_(values[name])
        for key, value in (moments or {}).items():
            kind, name = key.split("/", 1)
            # A fresh allocation has the alignment that the same sums need on every run.
            self.optimiser.state[self.masters[name]][kind] = value.clone()
        self._publish()

    def add_gradient(self, param: Tensor, gradient: Tensor) -> None:
        """Add a gradient that was computed outside of autograd; a weight that stays as it is ignores it."""
        master = self._master_of.get(param)
        if master is not None:
            self._add(master, gradient)

    def finish(self) -> Any:
        """The plain fp32 model: low-rank updates are folded into their matrices, and gradients go nowhere else."""
        for hook in self._hooks:
            hook.remove()
        self.model.get_input_embeddings().sparse = False
        _cast(self.model, torch.float32)
        self._publish()
        lora.merge(self.model)
        return self.model.requires_grad_(True)

    def _spread(self, dtype: torch.dtype) -> None:
        """Find the weights that move, and put copies in the compute type into the model where that is another."""
        self.moving = {name: param for name, param in self.model.named_parameters() if param.requires_grad}
        self.masters = self.moving
        if dtype != torch.float32:
            self.masters = {name: param.detach().clone().requires_grad_() for name, param in self.moving.items()}
            _cast(self.model, dtype)
            for name, param in self.moving.items():
                self._hook(param, self._hand_over(self.masters[name]))
        # A step has few of the vocabulary's words: a gradient of their rows only, which are then added in fp32.
        table = self.model.get_input_embeddings()
        table.sparse = True
        if dtype == torch.float32 and table.weight.requires_grad:
            self._hook(table.weight, lambda own: setattr(own, "grad", own.grad.to_dense()))

    def _hook(self, param: Any, take: Any) -> None:
        self._hooks.append(param.register_post_accumulate_grad_hook(take))

    def _publish(self) -> None:
        """Round the fp32 weights to the model's compute type."""
        with torch.no_grad():
            for name, param in self.moving.items():
                if param is not self.masters[name]:
                    param.copy_(self.masters[name])

    def _hand_over(self, master: Tensor) -> Any:
        def add(param: Any) -> None:
            self._add(master, param.grad)
            param.grad = None

        return add

    @staticmethod
    def _add(master: Tensor, gradient: Tensor) -> None:
        # Converted first: a sum of two types takes three times as long.
        gradient = gradient.float()
        if master.grad is None:
            master.grad = gradient.to_dense() if gradient.is_sparse else gradient
        else:
            master.grad.add_(gradient)


def _freeze(model: Any, layers: int) -> None:
    """Hold the embedding (and the head, where it is the same matrix) and the lowest layers still."""
    body = model.get_decoder()
    if layers > len(body.layers):
        raise BadInput(
            words(
                en=f"train.freeze is {layers}; the student has {len(body.layers)} layers",
                fr=f"train.freeze vaut {layers} ; l'élève a {len(body.layers)} couches",
            ),
            words(en="freeze fewer layers", fr="figez moins de couches"),
        )
    if layers:
        body.get_input_embeddings().requires_grad_(False)
        for layer in body.layers[:layers]:
            layer.requires_grad_(False)


def _cast(model: Any, dtype: torch.dtype) -> None:
    """Round the parameters, but not the tables that positions are computed from."""
    for param in model.parameters():
        param.data = param.data.to(dtype)
