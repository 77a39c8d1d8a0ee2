"""The head of the aesthetic predictor and of ImageReward: five linear layers with nothing between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

HIDDEN = (1024, 128, 64, 16)


class AffineHead(nn.Module):
    """(B, width) -> (B,). `layers` is numbered as in the published files, whose dropouts count.

    Without a nonlinearity the whole is one affine map; it is kept in its layers, as it was trained.
    """

    def __init__(self, width: int, hidden: Sequence[int] = HIDDEN):
        super().__init__()
        layers: list[nn.Module] = []
        for i, (size, after) in enumerate(pairwise([width, *hidden, 1])):
            layers.append(nn.Linear(size, after))
            if i < len(hidden) - 1:  # none stands before the last two layers
                layers.append(nn.Dropout(0.1 if i == 2 else 0.2))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[..., 0]


def hidden_of(state: dict[str, Tensor]) -> tuple[int, ...]:
    """The hidden sizes of a head's weights `layers.N.weight`."""
    names = sorted((int(name.split(".")[1]), name) for name in state if name.endswith(".weight"))
    return tuple(state[name].shape[0] for _, name in names)[:-1]
