"""What is lost when a distribution is kept as a few entries: the certificate that travels with a capture.

Measured on whole distributions of held-out answers, for the form that was chosen and, beside it, for what others keep:
the 128 likeliest entries, made to add up to 1 again. The gradient of forward KL to the student's logits is its own
distribution minus the teacher's, so an error in the kept distribution is an error in the gradient, whoever the student
is. The bias is estimated from several independent draws, with the noise of the draws taken out; it decides nothing.

Shapes: R rows, V vocabulary, N tokens in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cornue.capture.packing import NATS, Rows, Shape, targets_of

OTHERS_KEEP = 128
REPLICATES = 8
RESAMPLES = 2000
HIGH_ENTROPY = 1.0
Floats = NDArray[np.float64]

# One line per token: its entropy, and of each form the squared bias, the squared error and the divergence.
COLUMNS = ("entropy", "bias2", "error2", "divergence", "other_bias2", "other_error2", "other_divergence")


def measure(probabilities_RV: NDArray[np.float32], replicates: Sequence[Rows], shape: Shape) -> Floats:
    """Errors of some tokens (R, columns).

    Args:
        replicates: independent reductions of the same rows; one is enough for a form without chance.
    """
    p_RV = probabilities_RV.astype(np.float64)
    p_RV /= p_RV.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy_R = -np.nansum(p_RV * np.log(p_RV), axis=1)
    squares_R = (p_RV**2).sum(1)
    return np.stack([entropy_R, *_of_form(p_RV, squares_R, replicates, shape), *_of_likeliest(p_RV, squares_R)], axis=1)


def certificate(errors: Iterable[Floats], shape: Shape, seed: int = 1) -> dict[str, Any]:
    """The certificate of a form, from the errors of all tokens that were looked at."""
    lines = np.concatenate(list(errors)) if errors else np.zeros((0, len(COLUMNS)))
    high = lines[lines[:, 0] > HIGH_ENTROPY]
    random = np.random.default_rng(seed)
    return {
        "tokens": len(lines),
        "tokens_above_one_nat": len(high),
        "entropy": round(float(lines[:, 0].mean()), 4) if len(lines) else None,
        "gradient": "squared distance between kept and whole distribution, on tokens above one nat",
        "kept": {"form": shape.form, "width": shape.width, **_summary(high[:, 1:4], random)},
        "beside": {"form": "likeliest, made to add up to 1", "width": OTHERS_KEEP, **_summary(high[:, 4:7], random)},
    }


def compare_engines(said: Iterable[tuple[Rows, slice, NDArray[np.float32]]]) -> dict[str, Any]:
    """How far two engines with the same weights lie apart on given tokens.

    Args:
        said: of each text what one engine held likeliest (``top`` rows), and the other's whole distributions (R, V) of
            the rows in the slice.
    """
    divergences, agree = [], []
    for rows, part, p_RV in said:
        for row in range(part.start, part.stop):
            ids = rows.ids[rows.splits[row] : rows.splits[row + 1]]
            first = np.exp(-rows.codes[rows.splits[row] : rows.splits[row + 1]] / NATS)
            other = p_RV[row - part.start].astype(np.float64)
            one = np.append(first, max(1 - first.sum(), 1e-9))
            two = np.append(other[ids], max(1 - other[ids].sum(), 1e-9))
            divergences.append(float((one / one.sum() * np.log(one / one.sum() / np.maximum(two, 1e-12))).sum()))
            agree.append(int(ids[first.argmax()]) == int(other.argmax()))
    return {
        "tokens": len(agree),
        "same_likeliest": float(np.mean(agree)) if agree else None,
        "divergence_of_likeliest_and_rest": float(np.mean(divergences)) if agree else None,
    }


def _of_form(p_RV: Floats, squares_R: Floats, replicates: Sequence[Rows], shape: Shape) -> list[Floats]:
    """Squared bias, squared error and divergence of the kept form."""
    (count, vocabulary), times = p_RV.shape, len(replicates)
    targets = [targets_of(rows, shape) for rows in replicates]
    row = np.concatenate([np.repeat(np.arange(count), np.diff(one.splits)) for one in targets])
    key = row * vocabulary + np.concatenate([one.ids for one in targets])
    weight = np.concatenate([one.weights for one in targets]).astype(np.float64)
    rest_R = np.mean([one.rest for one in targets], axis=0, dtype=np.float64)

    used, place = np.unique(key, return_inverse=True)
    used_row, used_p = used // vocabulary, p_RV.reshape(-1)[used]
    mean = np.bincount(place, weight) / times
    mean2_R = np.bincount(used_row, mean**2, count)
    cross_R = np.bincount(used_row, mean * used_p, count)
    each2_R = np.bincount(row, weight**2, count) / times
    tail_R = np.maximum(1 - np.bincount(used_row, used_p, count), 1e-300)
    # A rest class is spread evenly over the other ids: nobody knows better without the student.
    spread_R = rest_R / np.maximum(vocabulary - np.bincount(used_row, minlength=count), 1)
    outside_R = rest_R * spread_R - 2 * spread_R * tail_R
    noise_R = (each2_R - mean2_R) / (times - 1) if times > 1 else np.zeros(count)

    gain = weight * np.log(weight / np.maximum(p_RV.reshape(-1)[key], 1e-300))
    divergence_R = np.bincount(row, gain, count) / times
    divergence_R += np.where(rest_R > 0, rest_R * np.log(np.maximum(rest_R, 1e-300) / tail_R), 0.0)
    bias2_R = mean2_R - 2 * cross_R + squares_R + outside_R - noise_R
    return [bias2_R, each2_R - 2 * cross_R + squares_R + outside_R, divergence_R]


def _of_likeliest(p_RV: Floats, squares_R: Floats) -> list[Floats]:
    """The same of the likeliest entries, made to add up to 1."""
    width = min(OTHERS_KEEP, p_RV.shape[1])
    kept = -np.partition(-p_RV, width - 1, axis=1)[:, :width]
    mass_R, kept2_R = kept.sum(1), (kept**2).sum(1)
    error2_R = (1 / mass_R - 1) ** 2 * kept2_R + np.maximum(squares_R - kept2_R, 0)
    return [error2_R, error2_R, -np.log(mass_R)]


def _summary(columns: Floats, random: np.random.Generator) -> dict[str, Any]:
    """Means over tokens, the bias with a 95 % interval from resampled tokens."""
    if not len(columns):
        return {}
    bias2, error2, divergence = columns.T
    picks = random.integers(0, len(bias2), (RESAMPLES, len(bias2)))
    low, high = np.quantile(bias2[picks].mean(1), [0.025, 0.975])
    return {
        "gradient_bias2": float(bias2.mean()),
        "gradient_bias2_interval": [float(low), float(high)],
        "rms_error": float(np.sqrt(error2.mean())),
        "divergence": float(divergence.mean()),
    }
