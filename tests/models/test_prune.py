from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cornue.models.load import load_model, save_model
from cornue.models.prune import prune
from cornue.models.tiny import TEXTS, tiny_model, tiny_tokenizer
from cornue.records.errors import BadInput

TOKENIZER = tiny_tokenizer()
IDS = [TOKENIZER.encode(text) for text in TEXTS]
EXAMPLES = [(ids[:3], ids[3:]) for ids in IDS]


def test_what_is_left_is_the_least_loss() -> None:
    losses = {}
    for gone in range(3):
        model = tiny_model(TOKENIZER, layers=3)
        layers = [layer for number, layer in enumerate(model.model.layers) if number != gone]
        model.model.layers = torch.nn.ModuleList(layers)
        with torch.inference_mode():
            parts = [
                (float(model(torch.tensor([ids]), labels=torch.tensor([[-100] * 3 + ids[3:]])).loss), len(ids) - 3)
                for ids in IDS
            ]
        losses[gone] = sum(loss * size for loss, size in parts) / sum(size for _, size in parts)
    pruned = prune(tiny_model(TOKENIZER, layers=3), EXAMPLES, 2)
    assert pruned.loss_after == pytest.approx(min(losses.values()))
    assert pruned.kept == tuple(number for number in range(3) if number != min(losses, key=losses.get))  # type: ignore[arg-type]


def test_a_pruned_model_writes_with_its_cache_and_is_saved(tmp_path: Path) -> None:
    model = tiny_model(TOKENIZER, layers=4)
    pruned = prune(model, EXAMPLES, 2)
    assert pruned.parameters_after < pruned.parameters_before
    ids = torch.tensor([IDS[0]])
    with_cache = model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=True)
    assert torch.equal(with_cache, model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=False))
    save_model(model, TOKENIZER, tmp_path)
    assert torch.equal(load_model(tmp_path)(ids).logits, model(ids).logits)


@pytest.mark.parametrize("keep", [0, 5])
def test_an_impossible_number_of_layers_is_refused(keep: int) -> None:
    with pytest.raises(BadInput, match="layers"):
        prune(tiny_model(TOKENIZER), EXAMPLES, keep)
