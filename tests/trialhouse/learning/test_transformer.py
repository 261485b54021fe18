"""The transformer does what its name says: causal, rotary, of the sizes that its formulas give."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from trialhouse.learning.sizes import Sizes, measure_sizes
from trialhouse.learning.transformer import Attention, Transformer

SYMBOLS, CONTEXT = 50, 32


def sizes(width: int, depth: int, is_tied: bool = False) -> Sizes:
    build = partial(Transformer, SYMBOLS, width, depth, CONTEXT, 16, is_tied)
    return measure_sizes(build, torch.zeros(1, CONTEXT, dtype=torch.int64), CONTEXT)


@pytest.mark.parametrize(("width", "depth"), [(16, 1), (32, 3), (64, 2)])
def test_arithmetic_and_parameters_are_those_of_the_formulas(width: int, depth: int) -> None:
    found = sizes(width, depth)
    per_token = 24 * depth * width**2 + 2 * SYMBOLS * width + 4 * depth * CONTEXT * width
    assert found.flops == per_token * CONTEXT
    assert found.training_flops == 3 * per_token * CONTEXT
    assert found.non_embedding_parameters == 12 * depth * width**2 + (2 * depth + 1) * width
    assert found.parameters == found.non_embedding_parameters + 2 * SYMBOLS * width


def test_a_tied_table_counts_once() -> None:
    tied, untied = sizes(32, 2, is_tied=True), sizes(32, 2)
    assert untied.parameters - tied.parameters == SYMBOLS * 32
    assert tied.non_embedding_parameters == untied.non_embedding_parameters
    assert tied.flops == untied.flops


@pytest.mark.parametrize("is_tied", [False, True])
def test_no_position_sees_a_later_one_and_all_see_the_earlier_ones(is_tied: bool) -> None:
    torch.manual_seed(0)
    network = Transformer(SYMBOLS, 32, 2, CONTEXT, 16, is_tied).double()
    tokens = torch.randint(SYMBOLS, (2, CONTEXT))
    changed = tokens.clone()
    changed[:, 10] = (changed[:, 10] + 1) % SYMBOLS
    difference = (network(tokens) - network(changed)).detach().abs().amax((0, 2))
    assert float(difference[:10].max()) < 1e-12
    assert float(difference[10:].min()) > 1e-6


@pytest.mark.parametrize("is_tied", [False, True])
def test_scores_begin_near_chance_at_every_width(is_tied: bool) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(SYMBOLS, (8, CONTEXT))
    for width in (16, 64, 256):
        scores = Transformer(SYMBOLS, width, 2, CONTEXT, 16, is_tied)(tokens)
        assert 0.5 < float(scores.detach().std()) < 1.5


def test_attention_goes_by_distance_not_by_place() -> None:
    torch.manual_seed(0)
    network, attention = Transformer(SYMBOLS, 32, 1, CONTEXT, 16, False).double(), Attention(32, 16).double()
    cosines, sines = network.cosines, network.sines
    hidden = torch.randn(1, 8, 32, dtype=torch.float64)
    here = attention(hidden, cosines[:8], sines[:8])
    assert torch.allclose(here, attention(hidden, cosines[20:28], sines[20:28]), atol=1e-6)
    assert not torch.allclose(here, attention(hidden, torch.ones_like(cosines[:8]), torch.zeros_like(sines[:8])), atol=1e-3)
