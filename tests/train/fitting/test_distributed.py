"""What several processes compute of one batch, without starting them."""

import copy

import pytest
import torch
from torchvision.ops import StochasticDepth

from train.fitting import distributed
from train.networks.sample_draws import SampleDraws, SampleDropout


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth_drops_the_same_samples_in_parts(monkeypatch, mode):
    x = torch.arange(1.0, 13.0).view(12, 1, 1, 1)
    network = torch.nn.Sequential(StochasticDepth(0.5, mode))
    torch.manual_seed(3)
    whole = network(x)

    distributed.share_randomness(network)
    monkeypatch.setattr(distributed, "count_processes", lambda: 2)
    parts = []
    for rank, part in enumerate(x.chunk(2)):
        monkeypatch.setattr(distributed.dist, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        parts.append(network(part))
    assert torch.equal(torch.cat(parts), whole)
    if mode == "row":
        assert 0 < int((whole == 0).sum()) < 12
    assert torch.equal(network.eval()(x), x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dropout_and_draws_are_those_of_the_whole_batch(monkeypatch, layout):
    x = torch.randn(6, 3, 4, 5).to(memory_format=layout)
    network = torch.nn.Sequential(SampleDropout(0.5))
    draws = SampleDraws()
    torch.manual_seed(3)
    expected = torch.nn.functional.dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(network(x), expected)
    expected_draws = draws(6, 2)

    for module in (network, draws):
        distributed.share_randomness(module)
    monkeypatch.setattr(distributed, "count_processes", lambda: 2)
    for rank, part in enumerate(x.chunk(2)):
        monkeypatch.setattr(distributed.dist, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        assert torch.equal(network(part), expected.chunk(2)[rank])
        assert torch.equal(draws(3, 2), expected_draws.chunk(2)[rank])
    assert torch.equal(network.eval()(x), x)


def test_processes_that_disagree_do_not_train(monkeypatch):
    monkeypatch.setattr(distributed, "count_processes", lambda: 2)

    def gather(received, facts):
        received[:] = [facts, facts | {"step": 7}]

    monkeypatch.setattr(distributed.dist, "all_gather_object", gather)
    with pytest.raises(distributed.RunError, match="mine do not agree on step; start all of them"):
        distributed.require_agreement({"state": "a", "step": 6}, what="mine")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (torch.nn.BatchNorm1d(3, affine=False), (5, 3)),
        (torch.nn.BatchNorm2d(3), (5, 3, 4, 2)),
        (torch.nn.BatchNorm3d(3), (2, 3, 4, 2, 2)),
    ],
)
def test_batch_statistics_of_any_number_of_dimensions(monkeypatch, layer, shape):
    """As if another process had an equal batch: the statistics are those of both together."""
    torch.manual_seed(0)
    x = torch.randn(shape)
    expected_layer = copy.deepcopy(layer)
    expected = expected_layer(torch.cat([x, x]))[: len(x)]

    distributed.synchronize_statistics(layer, is_cuda=False)
    monkeypatch.setattr(distributed, "count_processes", lambda: 2)
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda values: values.mul_(2))
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.running_var, expected_layer.running_var)
