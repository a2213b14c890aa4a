"""SimSiam's head (Chen & He, CVPR 2021): two views of a sample must predict each other."""

import torch
import torch.nn.functional as F
from torch import nn


class SimSiamHead(nn.Module):
    """A projector, and a predictor of one view's projection from the other's."""

    def __init__(self, num_features: int):
        super().__init__()
        size, hidden = 4 * num_features, num_features
        self.projector = nn.Module()
        self.projector.layer1 = _make_layer(num_features, size)
        self.projector.layer2 = _make_layer(size, size)
        # As published: no bias before BatchNorm, and a last BatchNorm without weights.
        self.projector.layer3 = nn.Sequential(
            nn.Linear(size, size, bias=False), nn.BatchNorm1d(size, affine=False)
        )
        self.predictor = nn.Module()
        self.predictor.layer1 = _make_layer(size, hidden)
        self.predictor.layer2 = nn.Linear(hidden, size)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn features (n, c) into a projection and a prediction, (n, 4 c) each."""
        p, q = self.projector, self.predictor
        projection = p.layer3(p.layer2(p.layer1(features)))
        return projection, q.layer2(q.layer1(projection))


def _make_layer(num_inputs: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_inputs, num_outputs, bias=False), nn.BatchNorm1d(num_outputs), nn.ReLU()
    )


def predict_each_other(
    first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Return minus the mean cosine of predictions and the other view's projections.

    Args:
        first: projection and prediction of one view, (n, c) each. No gradient flows into
            projections.
        second: those of the other view.
    """
    cosines = [
        F.cosine_similarity(prediction, projection.detach(), dim=1).mean()
        for (_, prediction), (projection, _) in ((first, second), (second, first))
    ]
    return -torch.stack(cosines).mean()
