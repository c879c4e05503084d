"""The fused pass against plain formulas in float64: value and gradient, for every objective and option."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from cornue.models.head import Head
from cornue.records.errors import BadInput
from cornue.train import divergence, losses
from cornue.train.losses import Outcome, fused
from cornue.train.objectives import Dense, Labels, Objective, Policy, Sparse, from_states

ROWS, HIDDEN, VOCABULARY, ENTRIES = 13, 6, 29, 5

DIVERGENCES: dict[str, tuple[divergence.Divergence, Any]] = {
    "forward": (divergence.forward, lambda p, q: kl(p, q)),
    "reverse": (divergence.reverse, lambda p, q: kl(q, p)),
    "jensen_shannon": (
        divergence.jensen_shannon(0.3),
        lambda p, q: 0.3 * kl(p, 0.3 * p + 0.7 * q) + 0.7 * kl(q, 0.3 * p + 0.7 * q),
    ),
    "skewed_forward": (divergence.skewed_forward(0.1), lambda p, q: kl(p, 0.1 * p + 0.9 * q)),
}

HEADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"vocabulary": VOCABULARY - 4},
    "bias": {"bias": True},
    "softcap_and_scale": {"softcap": 2.0, "scale": 0.7},
    "everything": {"vocabulary": VOCABULARY - 4, "bias": True, "softcap": 2.0, "scale": 0.7},
}


def kl(p: Tensor, q: Tensor) -> Tensor:
    return torch.xlogy(p, p / q).sum(-1)


def case(seed: int = 0, rows: int = ROWS, dtype: torch.dtype = torch.float64, **options: Any) -> tuple[Tensor, Head]:
    """Hidden states and a head, both of which can move."""
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, HIDDEN, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, HIDDEN, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    bias = torch.randn(VOCABULARY, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, Head(weight, bias if options.pop("bias", False) else None, **options)


def targets(kind: str, seed: int = 1, rows: int = ROWS, temperature: float = 1.0) -> Objective:
    """An objective of each kind with random weights (some zero) and random targets below the padded vocabulary."""
    draw = torch.Generator().manual_seed(seed)
    real = VOCABULARY - 4
    weight = torch.rand(rows, generator=draw, dtype=torch.float64)
    weight[::5] = 0
    options = {"total": 3.7, "temperature": temperature, "squared": temperature != 1}
    ids = torch.rand(rows, real, generator=draw).argsort(-1)[:, :ENTRIES]
    probs = torch.rand(rows, ENTRIES, generator=draw, dtype=torch.float64)
    probs /= probs.sum(-1, keepdim=True)
    if kind == "labels":
        return Labels(weight, ids[:, 0], **options)
    if kind == "sampled":
        return Sparse(weight, ids, probs, **options)
    if kind == "top":
        # Ids that only fill up stand for no id, not even for 0, whether that is an entry or not.
        ids[:1, 1:], ids[1:2], ids[2:3] = -1, torch.tensor([-1, -1, 0, 3, 5]), -1
        return Sparse(weight, ids, 0.8 * probs * (ids >= 0), 1 - (0.8 * probs * (ids >= 0)).sum(-1), **options)
    if kind == "policy":
        advantage = torch.randn(rows, generator=draw, dtype=torch.float64)
        return Policy(weight, ids[:, 0], advantage, -2 - 2 * torch.rand(rows, generator=draw), **options)
    if kind == "reinforce":
        return Policy(weight, ids[:, 0], torch.randn(rows, generator=draw, dtype=torch.float64), **options)
    logits = 2 * torch.randn(rows, real, generator=draw, dtype=torch.float64)
    return Dense(weight, lambda rows: logits[rows], DIVERGENCES[kind][0], **options)


KINDS = ["labels", "sampled", "top", "policy", "reinforce"]


def reference_values(objective: Objective, logits: Tensor, kind: str) -> Tensor:
    """Each row's value by its textbook formula."""
    q = torch.softmax(logits / objective.temperature, -1)
    if isinstance(objective, Labels):
        return -q.gather(1, objective.ids_R[:, None])[:, 0].log()
    if isinstance(objective, Policy):
        log_q = q.gather(1, objective.ids_R[:, None])[:, 0].log()
        if objective.sampler_R is None:
            return -objective.advantage_R * log_q
        ratio = (log_q - objective.sampler_R).exp()
        clipped = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
        return -torch.minimum(ratio * objective.advantage_R, clipped * objective.advantage_R)
    if isinstance(objective, Sparse):
        rows = []
        for row in range(len(logits)):
            real = objective.ids_RK[row] >= 0
            p, inside = objective.probs_RK[row][real].double(), q[row][objective.ids_RK[row][real]]
            if objective.tail_R is None:
                rows.append(-(p * inside.log()).sum())
            else:
                p = torch.cat([p, objective.tail_R[row : row + 1].double()])
                others = torch.ones(q.shape[1], dtype=torch.bool)
                others[objective.ids_RK[row][real]] = False
                rows.append(kl(p, torch.cat([inside, q[row][others].sum()[None]])))
        return torch.stack(rows)
    assert isinstance(objective, Dense)
    p = torch.softmax(objective.teacher(slice(None)).double() / objective.temperature, -1)
    return DIVERGENCES[kind][1](p[:, : q.shape[1]], q)


def reference(hidden: Tensor, head: Head, objectives: dict[str, Objective]) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients (hidden, weight, bias) of all objectives by autograd over full logits in float64."""
    leaves = [t.detach().double().requires_grad_() for t in (hidden, head.weight_VH, head.bias_V) if t is not None]
    plain = Head(leaves[1], leaves[2] if len(leaves) > 2 else None, head.scale, head.softcap)
    logits = torch.nn.functional.linear(leaves[0], plain.weight_VH, plain.bias_V)
    logits = torch.tanh(logits / head.softcap) * head.softcap if head.softcap else logits
    logits = (logits * head.scale)[:, : head.vocabulary or None]
    loss = torch.zeros((), dtype=torch.float64)
    for kind, objective in objectives.items():
        values = reference_values(objective, logits, kind)
        square = objective.temperature**2 if objective.squared else 1.0
        loss = loss + (objective.weight_R.double() * values).sum() * square / objective.total
    return loss, list(torch.autograd.grad(loss, leaves))


def assert_agrees(hidden: Tensor, head: Head, objectives: dict[str, Objective], atol: float, **options: Any) -> None:
    loss, gradients = reference(hidden, head, objectives)
    found = fused(hidden, head, list(objectives.values()), **options)
    torch.testing.assert_close(found.loss.double(), loss, atol=atol, rtol=atol)
    for mine, theirs in zip(gradients_of(found), gradients, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=atol, rtol=atol)


def gradients_of(found: Outcome) -> list[Tensor]:
    return [t for t in (found.hidden_RH, found.weight_VH, found.bias_V) if t is not None]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("kind", [*KINDS, *DIVERGENCES])
def test_every_objective_agrees_with_its_formula(kind: str, temperature: float, head: str) -> None:
    options = dict(HEADS[head])
    options.setdefault("vocabulary", VOCABULARY - 4 if kind in DIVERGENCES else 0)
    hidden, top = case(**options)
    assert_agrees(hidden, top, {kind: targets(kind, temperature=temperature)}, 1e-11, chunk_rows=5)


@pytest.mark.parametrize("temperatures", [(1.0, 1.0, 1.0, 1.0), (1.0, 2.0, 1.0, 0.5)])
def test_a_mix_agrees_with_the_sum_of_its_formulas(temperatures: tuple[float, ...]) -> None:
    hidden, head = case(vocabulary=VOCABULARY - 4, bias=True)
    kinds = ["labels", "top", "policy", "reverse"]
    mix = {k: targets(k, seed=i, temperature=t) for i, (k, t) in enumerate(zip(kinds, temperatures, strict=True))}
    assert_agrees(hidden, head, mix, 1e-11, chunk_rows=4)


def test_a_label_may_be_one_of_the_teachers_entries() -> None:
    hidden, head = case()
    top = targets("top")
    assert isinstance(top, Sparse)
    label = replace(targets("labels"), ids_R=top.ids_RK[:, 0].clamp(min=0))
    assert_agrees(hidden, head, {"top": top, "labels": label}, 1e-11)


class Known(torch.autograd.Function):
    """A loss whose gradients were computed together with it, for autograd's own check."""

    @staticmethod
    def forward(ctx: Any, found: Outcome, *_: Tensor | None) -> Tensor:
        ctx.known = found.hidden_RH, found.weight_VH, found.bias_V
        return found.loss.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(None if known is None else known * upstream[0].to(known.dtype) for known in ctx.known)


@pytest.mark.parametrize("kind", [*KINDS, *DIVERGENCES])
def test_gradients_agree_with_finite_differences(kind: str) -> None:
    hidden, head = case(rows=3, bias=True, softcap=3.0)
    objective = targets(kind, rows=3)

    def loss(hidden_RH: Tensor, weight_VH: Tensor, bias_V: Tensor) -> Tensor:
        moved = replace(head, weight_VH=weight_VH, bias_V=bias_V, vocabulary=VOCABULARY - 4)
        found = fused(hidden_RH.detach(), moved, [objective])
        return cast(Tensor, Known.apply(found, hidden_RH, weight_VH, bias_V))  # type: ignore[no-untyped-call]

    assert head.bias_V is not None
    assert torch.autograd.gradcheck(loss, (hidden, head.weight_VH, head.bias_V), fast_mode=True)


def test_the_directions_are_the_named_ones() -> None:
    p, q = torch.tensor([[0.9, 0.1]]).double().log(), torch.tensor([[0.5, 0.5]]).double().log()
    values = {name: float(formula(p, q)[0]) for name, (formula, _) in DIVERGENCES.items()}
    assert values["forward"] == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert values["reverse"] == pytest.approx(0.5 * math.log(5 / 9) + 0.5 * math.log(5))
    assert values["jensen_shannon"] == pytest.approx(
        0.3 * (0.9 * math.log(0.9 / 0.62) + 0.1 * math.log(0.1 / 0.38))
        + 0.7 * (0.5 * math.log(0.5 / 0.62) + 0.5 * math.log(0.5 / 0.38))
    )
    assert values["skewed_forward"] == pytest.approx(0.9 * math.log(0.9 / 0.54) + 0.1 * math.log(0.1 / 0.46))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
@pytest.mark.parametrize("make", [divergence.jensen_shannon, divergence.skewed_forward])
def test_a_mixture_of_one_is_refused(make: Any, share: float) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        make(share)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(name: str, dtype: torch.dtype) -> None:
    hidden, head = case(dtype=dtype, softcap=5.0, vocabulary=VOCABULARY - 4)
    teacher = from_states(hidden.detach(), head)
    found = fused(hidden, head, [Dense(torch.ones(ROWS), teacher, DIVERGENCES[name][0], temperature=1.7)])
    assert found.loss.abs() < 1e-5
    assert all(gradient.abs().max() < 1e-5 for gradient in gradients_of(found))


@pytest.mark.parametrize("entries", [1, 4, VOCABULARY])
def test_a_student_equal_to_the_teachers_entries_and_tail_has_nothing_to_learn(entries: int) -> None:
    hidden, head = case()
    probs, ids = torch.softmax(hidden @ head.weight_VH.T, -1).detach().topk(entries)
    found = fused(hidden, head, [Sparse(torch.ones(ROWS), ids, probs, (1 - probs.sum(-1)).clamp(min=0))])
    assert found.loss.abs() < 1e-12
    assert all(gradient.abs().max() < 1e-12 for gradient in gradients_of(found))


@pytest.mark.parametrize("tail", [True, False])
def test_all_entries_are_the_whole_distribution(tail: bool) -> None:
    hidden, head = case()
    logits = torch.randn(ROWS, VOCABULARY, dtype=torch.float64)
    p, ids = torch.softmax(logits / 1.5, -1).sort(-1)
    weight, options = torch.rand(ROWS, dtype=torch.float64), {"temperature": 1.5, "squared": True}
    entropy = None if tail else -torch.xlogy(p, p).sum(-1)
    sparse = fused(hidden, head, [Sparse(weight, ids, p, torch.zeros(ROWS) if tail else None, entropy, **options)])
    dense = fused(hidden, head, [Dense(weight, lambda rows: logits[rows], **options)])
    torch.testing.assert_close(sparse.loss, dense.loss)
    for one, other in zip(gradients_of(sparse), gradients_of(dense), strict=True):
        torch.testing.assert_close(one, other)


def test_sampled_targets_are_unbiased_for_forward_kl_at_their_temperature() -> None:
    hidden, head = case(rows=1, vocabulary=3)
    logits, temperature = torch.randn(1, 3, dtype=torch.float64), 0.7
    p = torch.softmax(logits / temperature, -1)[0]
    one, expected = torch.ones(1, dtype=torch.float64), torch.zeros(1, HIDDEN, dtype=torch.float64)
    for first in range(3):
        for second in range(3):
            drawn = torch.tensor([[first, second]])
            found = fused(hidden, head, [Sparse(one, drawn, one[:, None].expand(1, 2) / 2, temperature=temperature)])
            assert found.hidden_RH is not None
            expected += p[first] * p[second] * found.hidden_RH
    whole = fused(hidden, head, [Dense(one, lambda rows: logits, temperature=temperature)])
    torch.testing.assert_close(expected, whole.hidden_RH)


def test_the_sampled_reverse_divergence_as_a_reward_has_the_gradient_of_the_whole_one() -> None:
    hidden, head = case(rows=1, vocabulary=4)
    logits = torch.randn(1, 4, dtype=torch.float64)
    log_p = torch.log_softmax(logits, -1)
    log_q = torch.log_softmax(hidden @ head.weight_VH[:4].T, -1).detach()
    one, expected = torch.ones(1, dtype=torch.float64), torch.zeros(1, HIDDEN, dtype=torch.float64)
    for token in range(4):
        found = fused(hidden, head, [Policy(one, torch.tensor([token]), (log_p - log_q)[:, token])])
        assert found.hidden_RH is not None
        expected += log_q[0, token].exp() * found.hidden_RH
    whole = fused(hidden, head, [Dense(one, lambda rows: logits, divergence.reverse)])
    torch.testing.assert_close(expected, whole.hidden_RH)


def test_mass_on_ids_that_the_student_lacks_is_not_shared_out() -> None:
    hidden, head = case(vocabulary=VOCABULARY - 4)
    logits = torch.randn(ROWS, VOCABULARY, dtype=torch.float64)
    p = torch.softmax(logits, -1)[:, : VOCABULARY - 4]
    ids, one = torch.arange(VOCABULARY - 4).expand(ROWS, -1), torch.ones(ROWS)
    found = fused(hidden, head, [Dense(one, lambda rows: logits[rows])])
    q = torch.softmax((hidden @ head.weight_VH.T)[:, : VOCABULARY - 4], -1)
    expected = (p.sum(-1, keepdim=True) * q - p) @ head.weight_VH[: VOCABULARY - 4]
    torch.testing.assert_close(found.hidden_RH, expected.detach())
    torch.testing.assert_close(fused(hidden, head, [Sparse(one, ids, p)]).hidden_RH, expected.detach())


@pytest.mark.parametrize("kind", [*KINDS, *DIVERGENCES])
def test_a_small_step_lowers_the_loss(kind: str) -> None:
    hidden, head = case(vocabulary=VOCABULARY - 4)
    objective = targets(kind)
    before = fused(hidden, head, [objective])
    assert before.hidden_RH is not None and before.weight_VH is not None
    moved = replace(head, weight_VH=head.weight_VH - 1e-3 * before.weight_VH)
    assert fused(hidden - 1e-3 * before.hidden_RH, moved, [objective]).loss < before.loss


@pytest.mark.parametrize("batches", [2, 4, 12])
@pytest.mark.parametrize("kind", ["labels", "sampled", "top", "policy"])
def test_batches_add_up_to_the_whole(kind: str, batches: int) -> None:
    hidden, head = case(rows=12)
    objective = targets(kind, rows=12)
    whole = fused(hidden, head, [objective])
    parts = [
        fused(hidden[rows], head, [losses.part_of(objective, rows)])
        for rows in (slice(i * 12 // batches, (i + 1) * 12 // batches) for i in range(batches))
    ]
    torch.testing.assert_close(sum(part.loss for part in parts), whole.loss)
    torch.testing.assert_close(torch.cat([g for part in parts if (g := part.hidden_RH) is not None]), whole.hidden_RH)
    torch.testing.assert_close(sum(g for part in parts if (g := part.weight_VH) is not None), whole.weight_VH)


def test_no_tensor_of_all_rows_by_the_vocabulary_is_ever_made() -> None:
    hidden, head = case(rows=40, dtype=torch.float32)
    teacher = torch.randn(40, VOCABULARY)
    mix = [targets(kind, rows=40) for kind in ("labels", "top", "policy")]
    with Widest() as widest:
        fused(hidden, head, [*mix, Dense(torch.ones(40), lambda rows: teacher[rows])], chunk_rows=8)
    assert widest.rows == 8


class Widest(torch.utils._python_dispatch.TorchDispatchMode):
    """Remembers the most rows of any new tensor that is as wide as the vocabulary."""

    rows = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(made, Tensor) and made.ndim == 2 and made.shape[1] == VOCABULARY and not made._is_view():
                self.rows = max(self.rows, len(made))
        return result


def test_a_row_without_weight_is_left_alone_even_where_its_value_is_infinite() -> None:
    hidden, head = case(vocabulary=3)
    ids, mass = torch.arange(3).expand(ROWS, 3), torch.full((ROWS, 3), 0.3)
    weight = torch.zeros(ROWS)
    weight[0] = 1
    tail = torch.full((ROWS,), 0.1)
    tail[0] = 0
    found = fused(hidden, head, [Sparse(weight, ids, mass, tail)])
    assert found.loss.isfinite() and found.hidden_RH is not None
    assert torch.equal(found.hidden_RH[1:], torch.zeros(ROWS - 1, HIDDEN, dtype=torch.float64))
    assert found.hidden_RH[0].abs().sum() > 0


@pytest.mark.parametrize("tail", [1e-30, 1e-12, 1.0 - 1e-6])
@pytest.mark.parametrize("height", [1.0, 60.0])
def test_extreme_masses_stay_exact_in_fp32(tail: float, height: float) -> None:
    hidden, head = case(dtype=torch.float32)
    ids = (height * hidden @ head.weight_VH.T).detach().topk(3).indices
    probs = torch.tensor([0.7, 0.3, 1e-30]).expand(ROWS, 3) * (1 - tail)
    objective = Sparse(torch.ones(ROWS), ids, probs, torch.full((ROWS,), tail))
    # Logits in the hundreds are themselves rounded in their fifth decimal, and hidden states multiply it.
    assert_agrees(hidden.detach() * height, head, {"top": objective}, 2e-5 * height)


def test_a_vocabulary_with_a_long_tail_stays_exact_in_fp32() -> None:
    draw = torch.Generator().manual_seed(0)
    vocabulary, rows = 151_936, 6
    weight = torch.randn(vocabulary, 4, generator=draw) * 0.1
    bias = (-1.1 * torch.arange(1, vocabulary + 1).float().log()).requires_grad_()
    head = Head(weight.requires_grad_(), bias)
    hidden = torch.randn(rows, 4, generator=draw)
    ids = torch.cat([torch.arange(6), torch.tensor([90_000, 151_935])]).expand(rows, -1)
    probs = torch.full((rows, 8), 0.1)
    top = Sparse(torch.ones(rows), ids, probs, torch.full((rows,), 0.2))
    labels = Labels(torch.ones(rows), torch.tensor([0, 1, 2, 3, 151_935, 77_777]))
    assert_agrees(hidden, head, {"top": top, "labels": labels}, 1e-5)


@pytest.mark.parametrize("kind", ["labels", "top", "policy", "reverse"])
def test_16_bits_come_near(kind: str) -> None:
    hidden, head = case(dtype=torch.bfloat16, vocabulary=VOCABULARY - 4)
    assert_agrees(hidden, head, {kind: targets(kind)}, 0.03)


def test_the_heads_gradient_is_summed_and_given_in_fp32_whatever_the_heads_type() -> None:
    hidden, head = case(rows=512, dtype=torch.bfloat16)
    objective = targets("labels", rows=512)
    master = replace(head, weight_VH=head.weight_VH.detach().float().requires_grad_())
    _, (_, expected) = reference(hidden, head, {"labels": objective})
    found = fused(hidden, master, [objective], chunk_rows=8).weight_VH
    assert found is not None and found.dtype == torch.float32
    assert (found - expected).norm() < 0.01 * expected.norm()
    rounded = fused(hidden, head, [objective], chunk_rows=8).weight_VH
    assert rounded is not None and torch.equal(rounded, found)


def test_a_clipped_row_has_no_gradient_where_it_would_gain() -> None:
    hidden, head = case(rows=4)
    ids = torch.zeros(4, dtype=torch.long)
    logs = losses.score(hidden, head, ids)
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    sampler = logs - torch.tensor([1.3, 0.7, 1.3, 0.7]).log()
    found = fused(hidden, head, [Policy(torch.ones(4), ids, advantage, sampler)])
    assert found.hidden_RH is not None
    assert (found.hidden_RH.abs().sum(1) > 0).tolist() == [False, True, True, False]


def test_figures_are_those_of_the_full_distribution() -> None:
    hidden, head = case(bias=True, scale=1.3, vocabulary=VOCABULARY - 4)
    log_q = torch.log_softmax(head.logits(hidden)[:, : VOCABULARY - 4].double() / 1.5, -1).detach()
    mix = [targets("top", temperature=1.5), targets("labels", temperature=1.5), targets("reverse")]
    figures = fused(hidden, head, mix, entropy_every=1).figures
    torch.testing.assert_close(figures.entropy_R, -(log_q.exp() * log_q).sum(-1), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(figures.entropy, figures.entropy_R.mean())
    assert isinstance(mix[1], Labels)
    expected = log_q.gather(1, mix[1].ids_R[:, None])[:, 0]
    torch.testing.assert_close(figures.logs_OR[1], expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(losses.score(hidden, head, mix[1].ids_R, 1.5), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(losses.entropy(hidden, head, 1.5), figures.entropy_R)
    logsum = (head.logits(hidden)[:, : VOCABULARY - 4].double() / 1.5).logsumexp(-1).detach()
    torch.testing.assert_close(figures.logsum_R, logsum, atol=1e-6, rtol=1e-6)


def test_gradients_are_made_only_where_something_moves() -> None:
    hidden, head = case(bias=True)
    frozen = Head(head.weight_VH.detach(), head.bias_V)
    with torch.no_grad():
        assert gradients_of(fused(hidden, head, [targets("labels")])) == []
    assert fused(hidden, frozen, [targets("labels")]).weight_VH is None
    assert fused(hidden, frozen, [targets("labels")]).hidden_RH is not None


def test_passes_inside_of_a_pass_and_in_inference_mode_do_not_disturb_it() -> None:
    hidden, head = case()
    with torch.inference_mode():
        expected = losses.score(hidden, head, torch.zeros(ROWS, dtype=torch.long))
    teacher = torch.randn(ROWS, VOCABULARY, dtype=torch.float64)

    def busy(rows: slice) -> Tensor:
        assert torch.equal(losses.score(hidden, head, torch.zeros(ROWS, dtype=torch.long)), expected)
        return teacher[rows]

    one = torch.ones(ROWS)
    found, plain = (fused(hidden, head, [Dense(one, given)]) for given in (busy, lambda rows: teacher[rows]))
    assert torch.equal(found.loss, plain.loss)
    assert found.weight_VH is not None and torch.equal(found.weight_VH, plain.weight_VH)


def test_no_rows_cost_nothing_and_teach_nothing() -> None:
    hidden, head = case(rows=0)
    found = fused(hidden, head, [targets("labels", rows=0), targets("top", rows=0)])
    assert found.loss == 0
    assert found.weight_VH is not None and not found.weight_VH.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids_R": torch.full((ROWS,), VOCABULARY)}, f"ids {VOCABULARY}"),
        ({"ids_R": torch.full((ROWS,), -100)}, "ids -100"),
        ({"ids_R": torch.zeros(3, dtype=torch.long)}, "3 rows of ids"),
        ({"weight_R": torch.ones(3)}, "3 weights"),
        ({"temperature": 0.0}, "temperature 0"),
        ({"total": 0.0}, "total 0"),
    ],
)
def test_what_could_only_be_computed_wrongly_is_refused(change: dict[str, Any], message: str) -> None:
    hidden, head = case()
    with pytest.raises(BadInput, match=message):
        fused(hidden, head, [replace(targets("labels"), **change)])


@pytest.mark.parametrize(
    ("ids", "probs", "tail", "message"),
    [
        ([1, 1, 2], [0.3, 0.3, 0.3], 0.1, "twice"),
        ([1, 2, 3], [0.5, 0.3, 0.3], 0.1, "up to 1.2"),
        ([1, 2, 3], [0.5, 0.6, -0.3], 0.2, "from -0.3"),
    ],
)
def test_classes_that_are_none_are_refused(ids: list[int], probs: list[float], tail: float, message: str) -> None:
    hidden, head = case()
    given = Sparse(
        torch.ones(ROWS), torch.tensor([ids] * ROWS), torch.tensor([probs] * ROWS), torch.full((ROWS,), tail)
    )
    with pytest.raises(BadInput, match=message):
        fused(hidden, head, [given])
    with pytest.raises(BadInput, match="two tails"):
        fused(hidden, head, [given, given])


def test_a_teacher_with_fewer_ids_is_refused() -> None:
    hidden, head = case()
    with pytest.raises(BadInput, match="28"):
        fused(hidden, head, [Dense(torch.ones(ROWS), lambda rows: torch.zeros(ROWS, VOCABULARY - 1))])
