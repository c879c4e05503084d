from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cornue.models.export import export_gguf
from cornue.models.load import load_model, load_tokenizer, parameters_of, save_model
from cornue.models.tiny import tiny_model, tiny_tokenizer
from cornue.records.errors import BadInput


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
def test_an_exported_model_is_read_back(tmp_path: Path, kind: str) -> None:
    tokenizer, path = tiny_tokenizer(), tmp_path / "model.gguf"
    model = tiny_model(tokenizer)
    export_gguf(model, tokenizer, path, kind=kind)  # type: ignore[arg-type]
    again = load_model(path)
    step = {"F32": 0.0, "F16": 1e-3, "BF16": 8e-3, "Q8_0": 1e-2}[kind]
    for name, tensor in model.state_dict().items():
        assert torch.allclose(again.state_dict()[name], tensor, rtol=step, atol=step)


def test_a_folder_is_written_and_read_back(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    save_model(model, tokenizer, tmp_path)
    again = load_model(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    text = "Combien de communes ?\n  SELECT 'é' 日本"
    assert load_tokenizer(tmp_path).encode(text) == tokenizer.encode(text)
    assert load_tokenizer(tmp_path).chat_template == tokenizer.chat_template


def test_the_tokenizer_in_a_gguf_file_is_the_one_that_was_written(tiny_gguf: Path) -> None:
    text = "Combien de communes du Morbihan en 2024 ?<|im_end|>\n"
    tokenizer = load_tokenizer(tiny_gguf)
    assert tokenizer.encode(text) == tiny_tokenizer().encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.eos_token == "<|im_end|>"


def test_output_apart_from_the_embedding_stays_apart_unless_tied(tmp_path: Path) -> None:
    tokenizer, path = tiny_tokenizer(), tmp_path / "model.gguf"
    model = tiny_model(tokenizer)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() + 0.5)
    model.config.tie_word_embeddings = False
    export_gguf(model, tokenizer, path, kind="F32")
    apart, tied = load_model(path), load_model(path, tie=True)
    assert torch.equal(apart.lm_head.weight, model.lm_head.weight)
    assert torch.equal(tied.get_input_embeddings().weight, model.lm_head.weight)
    assert parameters_of(apart) - parameters_of(tied) == model.lm_head.weight.numel()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    save_model(tiny_model(tokenizer), tokenizer, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(BadInput, match="cannot be loaded"):
        load_model(tmp_path)


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    save_model(tiny_model(tokenizer), tokenizer, tmp_path)
    (tmp_path / "evil.py").write_text("open('/proc/self/evil', 'w')")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput):
        load_model(tmp_path)


def test_a_name_is_not_looked_up_anywhere(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no model"):
        load_model(Path("some/name"))


def test_export_writes_the_file_whole_or_not_at_all(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    model.config.rope_parameters = {"rope_type": "yarn", "rope_theta": 1.0}
    with pytest.raises(BadInput, match="yarn"):
        export_gguf(model, tokenizer, tmp_path / "model.gguf")
    assert list(tmp_path.iterdir()) == []


def test_llama_cpp_answers_as_the_weights_do(tiny_gguf: Path) -> None:
    from cornue.models.engine import Engine

    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    prompts = ["Combien", "Quelle est la population", "SELECT", "How many inhabitants has", "é 日本 2024"]
    with Engine(tiny_gguf, context=256, threads=1) as engine:
        for prompt in prompts:
            ids = tokenizer.encode(prompt)
            assert engine.tokenize(prompt) == ids
            written = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)[0, len(ids) :]
            assert engine.complete(ids, max_tokens=8).token_ids == tuple(written.tolist())
