"""Networks of every kind that the parameter graph is held to, all widths unequal, weights and statistics random."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightsmith.architectures import Architecture

SMALL_CNN = Architecture("target_cnn", (2, 12, 8), 5, {"channels1": 3, "channels2": 7, "hidden": 6})
MLP = Architecture("mlp", (1, 3, 5), 4, {"hidden": [8, 6]})


class Block(nn.Module):
    """A residual block: `relu(x + bn(conv(relu(bn(conv x)))))`."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Residual(nn.Sequential):
    """Two residual blocks on one stream, batch normalisation, average pool head."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(2, 5, 3, padding=1),
            nn.BatchNorm2d(5),
            nn.ReLU(inplace=True),
            Block(5, 4),
            Block(5, 6),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 3),
        )


class TwoBranches(nn.Module):
    """Two branches of unequal widths concatenated, one used again, then split in other places."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 4), nn.Linear(6, 7)
        self.both, self.again = nn.Linear(15, 9), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = F.relu(self.left(x)), F.leaky_relu(self.right(x), 0.1)
        hidden = F.relu(self.both(torch.cat([left, right, left], dim=1)))
        first, second = hidden.split([4, 5], dim=1)
        return torch.cat([first + left, self.again(second)], dim=1).sum(dim=1, keepdim=True)


class Tied(nn.Module):
    """One layer used twice, and one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.alike = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.alike.weight = self.twice.weight
        self.last = nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.twice(F.relu(self.first(x))))
        return self.last(F.relu(self.alike(F.relu(self.twice(hidden)))))


class Mixer(nn.Module):
    """Patches, layer norm, a perceptron over patches and one over channels, both residual."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 5, 2, stride=2)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(5), nn.LayerNorm(5), nn.LayerNorm(5)
        self.tokens1, self.tokens2 = nn.Linear(6, 7), nn.Linear(7, 6)
        self.channels1, self.channels2 = nn.Linear(5, 8), nn.Linear(8, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens2(F.gelu(self.tokens1(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        x = x + self.channels2(F.relu(self.channels1(self.norm2(x))))
        return self.head(self.norm3(x).mean(dim=1))


class Gated(nn.Module):
    """Squeeze and excitation, a gated linear unit, learned scales and positions, an instance norm without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(2, 6, 3), nn.Linear(6, 3), nn.Linear(3, 6)
        self.gain, self.shift = nn.Parameter(torch.randn(6, 1, 1)), nn.Parameter(torch.randn(1, 6, 1, 1))
        self.norm, self.mix, self.slope = nn.InstanceNorm2d(6), nn.Conv2d(6, 8, 1, bias=False), nn.PReLU(8)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        x = x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))[:, :, None, None] * self.gain / 2
        x = self.slope(self.mix(self.norm(x + self.shift)))
        return self.head(F.glu(x, dim=1).amax((2, 3)))


class Attending(nn.Module):
    """A transformer layer between a linear embedding and a mean over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(3, 6), nn.Linear(6, 4)
        self.layer = nn.TransformerEncoderLayer(6, 2, 10, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)).mean(dim=1))


class Recurrent(nn.Module):
    """A ReLU recurrence, unrolled: its weights lie between units of one group."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.remember, self.head = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.read(x[:, 0]))
        for i in range(1, x.shape[1]):
            hidden = F.relu(self.read(x[:, i]) + self.remember(hidden))
        return self.head(hidden)


def depthwise() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 5, 1),
        nn.LeakyReLU(),
        nn.Conv2d(5, 5, 3, groups=5, bias=False),
        nn.ReLU(),
        nn.Conv2d(5, 3, 1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 9, 3, groups=3),
        nn.ReLU(),
        nn.ConvTranspose2d(9, 6, 2, groups=3),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 5, 2, stride=2),
        nn.ReLU(),
        nn.Conv2d(5, 4, 3),
        nn.AdaptiveMaxPool2d((1, 2)),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def group_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3),
        nn.GroupNorm(2, 6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.GroupNorm(1, 4),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 5, 1),
        nn.GroupNorm(5, 5, affine=False),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(20, 3),
    )


def layer_norm() -> nn.Module:
    hidden = [nn.Linear(6, 7), nn.LayerNorm(7), nn.ReLU(), nn.Linear(7, 5), nn.LayerNorm(5, elementwise_affine=False)]
    return nn.Sequential(*hidden, nn.Tanh(), nn.Linear(5, 8), nn.RMSNorm(8), nn.ReLU(), nn.Linear(8, 3))


def batch_norm_on_vectors() -> nn.Module:
    hidden = [nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 5), nn.Softplus(), nn.Dropout()]
    return nn.Sequential(*hidden, nn.Linear(5, 3), nn.Softmax(dim=1))


def heads_of_a_flatten() -> nn.Module:
    """A flatten that is undone and merged again."""
    back = [nn.Unflatten(1, (4, 3)), nn.Flatten()]
    hidden = [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 12), nn.ReLU()]
    return nn.Sequential(*hidden, *back, nn.Linear(12, 3))


# name: how it is built, the shape of its inputs, how many permutation groups and scale groups it has
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int, int]] = {
    "mlp": (lambda: MLP.build(0), (1, 3, 5), 2, 2),
    "cnn": (lambda: SMALL_CNN.build(0), (2, 12, 8), 3, 3),
    "residual": (Residual, (2, 5, 4), 3, 3),
    "depthwise": (depthwise, (2, 8, 6), 4, 4),
    "grouped": (grouped, (2, 9, 8), 11, 11),
    "group norm": (group_norm, (2, 9, 8), 4, 2),
    "layer norm": (layer_norm, (6,), 3, 2),
    "batch norm on vectors": (batch_norm_on_vectors, (6,), 2, 1),
    "two branches": (TwoBranches, (6,), 4, 2),
    "tied": (Tied, (6,), 1, 1),
    "mixer": (Mixer, (2, 6, 4), 3, 3),
    "gated": (Gated, (2, 6, 5), 3, 2),
    "attending": (Attending, (5, 3), 4, 3),
    "recurrent": (Recurrent, (4, 3), 1, 1),
    "heads": (heads_of_a_flatten, (2, 6, 5), 3, 3),
}


def network(name: str, seed: int = 0) -> nn.Module:
    """A network of the table in evaluation mode, with random norms and running statistics, too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = NETWORKS[name][0]().eval()
        if name not in ("mlp", "cnn"):
            for key, value in module.state_dict().items():
                if value.is_floating_point():
                    value.copy_(torch.randn_like(value) / max(1, value[0].numel()) ** 0.5)
                    if "running_var" in key:
                        value.abs_().add_(0.5)
    return module


def inputs(name: str, batch: int = 7) -> Tensor:
    return torch.randn(batch, *NETWORKS[name][1], generator=torch.Generator().manual_seed(9))
