"""Train a network of your own on cached frames and spectrograms: plain PyTorch, nothing else.

python examples/train_your_own.py cache/sample train
"""

import sys

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from earshot.torch import Samples, ShardOrder


def make_encoder(num_channels: int) -> nn.Sequential:
    """Four convolutions: an image (n, c, h, w) becomes features (n, 64, h / 16, w / 16)."""
    layers: list[nn.Module] = []
    for size_in, size_out in ((num_channels, 16), (16, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(size_in, size_out, 3, stride=2, padding=1)]
        layers += [nn.BatchNorm2d(size_out), nn.ReLU()]
    return nn.Sequential(*layers)


def main(root: str, split: str, num_epochs: int = 2) -> float:
    """Train with a contrastive loss, that of chance being log(16); return the last mean loss."""
    samples = Samples(root, split, ["frames", "spectrograms"], size=112)
    print(f"{len(samples)} samples; left out: {samples.missing or 'none'}")

    torch.manual_seed(0)
    vision, hearing = make_encoder(3), make_encoder(1)
    optimizer = torch.optim.Adam([*vision.parameters(), *hearing.parameters()], lr=1e-3)
    order = ShardOrder(samples, seed=0)
    loader = DataLoader(samples, batch_size=16, sampler=order, drop_last=len(samples) > 16)

    for epoch in range(num_epochs):
        order.set_epoch(epoch)
        losses = []
        for batch in loader:
            places = F.normalize(vision(batch["frames"] / 255), dim=1)
            sounds = F.normalize(hearing(batch["spectrograms"][:, None]).mean((2, 3)), dim=1)
            # The best place of each frame for each sound; a frame's own sound should win.
            logits = torch.einsum("nchw,mc->nmhw", places, sounds).amax((2, 3)) / 0.07
            loss = F.cross_entropy(logits, torch.arange(len(logits)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}")
    return sum(losses) / len(losses)


if __name__ == "__main__":
    main(*sys.argv[1:3])
