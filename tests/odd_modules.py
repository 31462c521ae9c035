"""Odd modules: how networks are written in the wild, each with what the graph should know of it. All sizes unequal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class Odd(NamedTuple):
    """How it is built, the shape of one input, how many permutation and scale groups it has.

    `unused`: tensors that no operation reads. `dead`: those of operations whose results nothing reads, which a walk
    does not see. `walked`: the numbers of groups that a walk finds, where they are others.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    permutations: int
    scales: int
    unused: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    walked: tuple[int, int] | None = None


class SharedEverywhere(nn.Module):
    """One layer applied at three depths, one weight read by two layers, one of them transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(5, 3)
        self.down = nn.Parameter(torch.randn(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(3):
            x = F.relu(self.again(x))
        return self.last(F.relu(F.relu(F.relu(x @ self.down) @ self.down.t()) @ self.down))


class TiedAutoencoder(nn.Module):
    """A decoder with the encoder's weight, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.bias = nn.Linear(7, 5), nn.Parameter(torch.randn(7))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encode(x)), self.encode.weight.t(), self.bias)


class DenseBlocks(nn.Module):
    """Every layer reads all before it, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 4, 5, 6]
        self.layers = nn.ModuleList(nn.Conv2d(sum(widths[:i]), widths[i], 3, padding=1) for i in range(1, 4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(sum(widths[:i])) for i in range(1, 4))
        self.head = nn.Linear(sum(widths), 2)

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            found.append(layer(F.relu(norm(torch.cat(found, dim=1)))))
        return self.head(torch.cat(found, dim=1).mean((2, 3)))


class UNet(nn.Module):
    """Down, up by a transposed convolution and by resizing, skips concatenated and added."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(6, 7, 3, stride=(2, 1), padding=1)
        self.up1, self.mix1 = nn.ConvTranspose2d(7, 5, (2, 1), stride=(2, 1)), nn.Conv2d(11, 4, 3, padding=1)
        self.mix2 = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = F.relu(self.enter(x))
        two = F.relu(self.down(one))
        three = F.relu(self.deep(two))
        two = F.relu(self.mix1(torch.cat([F.relu(self.up1(three)), two], dim=1)))
        return self.mix2(one + F.interpolate(two, scale_factor=2, mode="bilinear"))


class SqueezeExcitation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.SiLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid()
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.conv(x))
        return self.head((x * self.gate(x)).flatten(2).mean(-1))


class InvertedResidual(nn.Module):
    """Depthwise between two pointwise convolutions, with a linear bottleneck and a multiplier of 2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.body = nn.Sequential(
            nn.Conv2d(4, 6, 1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU6(),
            nn.Conv2d(6, 12, 3, padding=2, dilation=2, groups=6, bias=False),
            nn.BatchNorm2d(12),
            nn.Hardswish(),
            nn.Conv2d(12, 4, 1, bias=False),
            nn.BatchNorm2d(4),
        )
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((x + self.body(x)).mean((2, 3)))


def grouped_and_transposed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, groups=2),
        nn.ELU(),
        nn.ConvTranspose2d(6, 4, (3, 2), stride=2, padding=1, output_padding=1, groups=2),
        nn.Tanh(),
        nn.ConvTranspose2d(4, 3, 2, dilation=2, bias=False),
        nn.LeakyReLU(0.2),
        nn.Conv2d(3, 2, 2, stride=3),
    )


def every_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3),
        nn.GroupNorm(3, 6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        nn.SiLU(),
        nn.Conv2d(4, 5, 1),
        nn.InstanceNorm2d(5, affine=True),
        nn.ReLU(),
        nn.Flatten(2),
        nn.LayerNorm(6),
        nn.Flatten(),
        nn.Linear(30, 7),
        nn.RMSNorm(7),
        nn.GELU("tanh"),
        nn.BatchNorm1d(7, affine=False),
        nn.Linear(7, 3),
    )


class ChannelsLast(nn.Module):
    """ConvNeXt: depthwise, layer norm over channels put last, pointwise by linear layers, a learned gain, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 6, 2, stride=2), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm, self.up, self.down = nn.LayerNorm(6), nn.Linear(6, 9), nn.Linear(9, 6)
        self.gain, self.head = nn.Parameter(torch.randn(6)), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.wide(x).permute(0, 2, 3, 1))
        x = x + (self.gain * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)
        return self.head(x.mean((-2, -1)))


def pixel_shuffles() -> nn.Module:
    return nn.Sequential(
        nn.PixelUnshuffle(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.PixelShuffle(2),
        nn.Conv2d(3, 5, 3),
        nn.ReLU(),
        nn.PixelUnshuffle(2),
        nn.Conv2d(20, 2, 1),
    )


def shuffled_channels() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 1, groups=2), nn.ChannelShuffle(2), nn.Conv2d(6, 3, 3, groups=3)
    )


class HandWrittenAttention(nn.Module):
    """One matrix for queries, keys and values, heads by reshape, scores by `@`, masked so that it is causal."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv, self.out, self.head = (
            nn.Linear(3, 8),
            nn.Linear(8, 24, bias=False),
            nn.Linear(8, 8),
            nn.Linear(8, 2),
        )
        self.register_buffer("mask", torch.ones(5, 5).tril() == 0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1) / math.sqrt(4)).masked_fill(self.mask, float("-inf"))
        y = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, length, width)
        return self.head(x + self.out(y))


class SeparateAttention(nn.Module):
    """Queries, keys and values apart, of other widths, two heads for one of keys; a learned bias on the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(3, 10), nn.Linear(10, 4)
        self.bias = nn.Parameter(torch.randn(2, 5, 5))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        return self.out(y.transpose(1, 2).flatten(2))


class SelfAttention(nn.Module):
    """PyTorch's attention, with the weights of its scores among the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend, self.head = (
            nn.Linear(3, 6),
            nn.MultiheadAttention(6, 2, batch_first=True),
            nn.Linear(6, 4),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(x)
        y, weights = self.attend(x, x, x)
        return self.head(x + y), weights


class Encoder(nn.Module):
    """PyTorch's encoder layer, normalised after, with a class token and learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 6, 2, stride=2)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 7, 6))
        self.layer, self.head = nn.TransformerEncoderLayer(6, 3, 9, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions
        return self.head(self.layer(x)[:, 0])


class Seq2Seq(nn.Module):
    """PyTorch's decoder layer: attention to another sequence, whose packed weights are split in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Linear(3, 6), nn.Linear(3, 6)
        self.layer, self.head = nn.TransformerDecoderLayer(6, 2, 7, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.target(x[:, :3]), self.source(x[:, 3:])))


class Recurrence(nn.Module):
    """An LSTM cell unrolled by hand, gates by chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.remember, self.head = nn.Linear(3, 20), nn.Linear(5, 20, bias=False), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        state, cell = x.new_zeros(len(x), 5), x.new_zeros(len(x), 5)
        for i in range(x.shape[1]):
            enter, forget, new, out = (self.read(x[:, i]) + self.remember(state)).chunk(4, dim=1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            state = out.sigmoid() * cell.tanh()
        return self.head(state)


class LSTM(nn.Module):
    """Two layers in both directions: every layer and direction has units of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.head = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.state(x)[0][:, -1])


class GRU(nn.Module):
    """Two layers, whose last states are read: their units have one order."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.state, self.head = nn.Linear(3, 6), nn.GRU(6, 4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.state(F.relu(self.embed(x)))[1].sum(0))


class Elman(nn.Module):
    """A plain recurrence from a learned first state."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.first, self.head = (
            nn.RNN(3, 4, batch_first=True),
            nn.Parameter(torch.randn(4)),
            nn.Linear(4, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.state(x, self.first.expand(1, len(x), -1).contiguous())[0][:, -1])


class MixerWithTransposes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Linear(12, 5), nn.LayerNorm(5)
        self.tokens, self.channels = nn.Conv1d(6, 6, 1), nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5))
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.unfold(x, (3, 2), stride=(3, 2)).mT  # [batch, patch, channel x 3 x 2]
        x = self.patches(x)
        x = x + self.tokens(self.norm(x))
        return self.head((x + self.channels(x.swapaxes(1, 2).swapaxes(2, 1))).mean(1))


class SpatialGating(nn.Module):
    """gMLP: half of the channels gate the other half, mixed over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm, self.leave = nn.Linear(3, 8), nn.LayerNorm(4), nn.Linear(4, 2)
        self.mix = nn.Conv1d(5, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        signal, gate = F.gelu(self.enter(x)).chunk(2, dim=-1)
        return self.leave(signal * self.mix(self.norm(gate)))


class Highway(nn.Module):
    """`g f(x) + (1 - g) x`, at a depth that is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(3, 5), nn.Linear(5, 2)
        self.layers, self.gates = (nn.ModuleList(nn.Linear(5, 5) for _ in range(3)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer, gate in zip(self.layers, self.gates, strict=True):
            g = torch.sigmoid(gate(x))
            x = g * F.relu(layer(x)) + (1 - g) * x
        return self.leave(x)


class Maxout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 15), nn.Linear(5, 12), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).view(-1, 5, 3).max(dim=-1).values
        return self.head(torch.maximum(*self.second(x).split(6, dim=1)))


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 5), nn.Linear(4, 6)
        self.both, self.head = nn.Bilinear(5, 6, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.both(F.relu(self.left(x)), torch.tanh(self.right(x)))))


def prelus() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.PReLU(4), nn.Conv2d(4, 3, 2), nn.PReLU(), nn.Flatten(), nn.Linear(27, 2)
    )


class Parametrised(nn.Module):
    """Weights of stated length, old and new, and of spectral norm one."""

    def __init__(self) -> None:
        super().__init__()
        self.length = parametrizations.weight_norm(nn.Conv2d(2, 4, 3))
        self.spectral = parametrizations.spectral_norm(nn.Conv2d(4, 5, 2))
        self.old = nn.utils.weight_norm(nn.Linear(5, 6))
        self.head = parametrizations.spectral_norm(nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.spectral(F.relu(self.length(x))))
        return self.head(F.relu(self.old(x.mean((2, 3)))))


class SlicedAndReshaped(nn.Module):
    """One long parameter from which layers are cut, and a matrix of which a part is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.table, self.bias = (
            nn.Parameter(torch.randn(31)),
            nn.Parameter(torch.randn(7, 5)),
            nn.Parameter(torch.randn(7)),
        )

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.flat[:20].view(5, 4), self.flat[20:25]
        x = torch.tanh(F.linear(x, weight, bias))
        x = torch.tanh(F.linear(x, self.table, self.bias))
        return torch.cat([x[:, :3] @ self.table[:3], x @ self.table * self.flat[25], self.flat[26:] * x[:, :5]], dim=1)


class RawEinsum(nn.Module):
    """Per-head matrices and Einstein sums, a raw product, a generalised mean of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(2, 3, width)) for width in (4, 4, 5))
        self.out, self.last = nn.Parameter(torch.randn(2, 5, 6)), nn.Parameter(torch.randn(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.einsum("b n i, h i d -> b h n d", x, weight) for weight in (self.q, self.k, self.v))
        scores = torch.einsum("bhnd,bhmd->bhnm", q, k).softmax(-1)
        y = torch.einsum("bhnm,bhmd,hdo->bno", scores, v, self.out)
        return torch.matmul(F.relu(y), self.last)


class ManualLinear(nn.Module):
    """`addmm`, `baddbmm`, `mv`, unregistered constants, a norm written out."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1, self.w2, self.b2 = (
            nn.Parameter(torch.randn(*s)) for s in ((4, 6), (6,), (3, 6, 5), (3, 1, 5))
        )
        self.out = nn.Parameter(torch.randn(5))
        self.constant = torch.linspace(-1, 1, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.addmm(self.b1, x, self.w1, beta=0.5, alpha=2)
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)
        x = torch.baddbmm(self.b2, x.expand(3, -1, -1), self.w2)  # [3, batch, 5]
        return torch.mv(F.normalize(x, dim=0).sum(0) + self.constant, self.out)


class Branching(nn.Module):
    """A branch that depends on data: only a run shows which way it goes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.often, self.seldom, self.last = (
            nn.Linear(4, 6),
            nn.Linear(6, 5),
            nn.Linear(6, 5),
            nn.Linear(5, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return self.last(F.relu(self.often(x) if x.mean() < 100 else self.seldom(x)))


class EarlyExit(nn.Module):
    """A loop whose length depends on data, with statistics kept as Python numbers and in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.step, self.norm, self.leave = (
            nn.Linear(4, 6),
            nn.Linear(6, 6),
            nn.BatchNorm1d(6),
            nn.Linear(6, 3),
        )
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1
        x, steps = torch.tanh(self.norm(self.enter(x))), 0
        while x.abs().mean().item() > 0.05 and steps < 2:
            x, steps = torch.tanh(self.step(x)), steps + 1
        return self.leave(x)


class BranchingCNN(nn.Module):
    """Convolutions, pools, norms and attention behind a branch, and a weight that gradients do not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.depth = (
            nn.Conv2d(2, 6, 3, stride=2),
            nn.GroupNorm(2, 6),
            nn.Conv2d(6, 6, 3, padding=1, groups=6),
        )
        self.attend, self.temperature = nn.MultiheadAttention(6, 2, batch_first=True), nn.Parameter(torch.tensor(0.7))
        self.head = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        if bool(torch.isnan(x).any()):
            raise ValueError("not a number")
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), (1, 2))
        x = (x + self.depth(x)).flatten(2).transpose(1, 2)
        x = x + self.attend(x, x, x, need_weights=False)[0]
        with torch.no_grad():
            factor = self.temperature.exp()
        return self.head(torch.cat([x.amax(1), x.mean(1), x[:, -1]], dim=1) * factor)


class Unused(nn.Module):
    """A layer that nothing reads, one whose result nothing reads, and a buffer of positions that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.spare, self.idle, self.last = (
            nn.Linear(4, 5),
            nn.Linear(3, 3),
            nn.Linear(5, 2),
            nn.Linear(5, 2),
        )
        self.register_buffer("shift", torch.linspace(0, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        self.idle(x)
        return self.last(x) + self.last(x + self.shift)


def circular() -> nn.Module:
    modes = [("circular", 4), ("reflect", 5), ("replicate", 6), ("zeros", 3)]
    layers: list[nn.Module] = []
    width = 2
    for mode, channels in modes:
        layers += [nn.Conv2d(width, channels, 3, padding=1, padding_mode=mode), nn.ReLU()]
        width = channels
    return nn.Sequential(*layers, nn.Conv2d(width, 2, 3, padding="same"), nn.Flatten(1, 2), nn.AdaptiveAvgPool1d(4))


class TwoPools(nn.Module):
    """Averages and maxima of the same channels, concatenated: one group in two stretches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 5, 3), nn.Linear(30, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        pools = [F.adaptive_avg_pool2d(x, (3, 1)), F.adaptive_max_pool2d(x, (3, 1))]
        return self.head(torch.flatten(torch.cat(pools, dim=1), start_dim=1))


class Bottleneck(nn.Module):
    """A residual with a strided 1x1 shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(4, 3, 1, bias=False), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(3)
        self.conv3, self.bn3 = nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.shortcut, self.bn4 = nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        x = F.relu_(self.bn3(self.conv3(y)) + self.bn4(self.shortcut(x)))
        return self.head(F.avg_pool2d(x, (x.shape[2], x.shape[3])).squeeze(-1).squeeze(-1))


class Experts(nn.Module):
    """A mixture with dense gating: experts as modules, stacked, and as one tensor, whose experts are a group."""

    def __init__(self) -> None:
        super().__init__()
        self.gate1, self.experts = nn.Linear(4, 3), nn.ModuleList(nn.Linear(4, 6) for _ in range(3))
        self.gate2, self.up, self.down = (
            nn.Linear(6, 5),
            nn.Parameter(torch.randn(5, 6, 7)),
            nn.Parameter(torch.randn(5, 7, 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = self.gate1(x).softmax(-1)
        x = (torch.stack([F.relu(expert(x)) for expert in self.experts], dim=1) * weights[:, :, None]).sum(1)
        hidden = F.relu(torch.einsum("bi,eio->beo", x, self.up))
        return torch.einsum("beo,eop,be->bp", hidden, self.down, self.gate2(x).softmax(-1))


def one_dimensional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 4, 5, stride=2, padding=2),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(4, 6, 3, dilation=2),
        nn.Mish(),
        nn.Upsample(scale_factor=2),
        nn.Flatten(start_dim=-2),
        nn.Linear(24, 3),
    )


def three_dimensional() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 3, (3, 2, 2)), nn.ReLU(), nn.AvgPool3d((1, 2, 1)), nn.ConvTranspose3d(3, 4, 2), nn.ReLU(),
        nn.Flatten(2, 3), nn.Flatten(1), nn.Linear(144, 2),
    )  # fmt: skip


class Flattens(nn.Module):
    """Channels last before a flatten, a flatten of heads only, one without a batch axis in front."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mid, self.last = nn.Conv2d(2, 4, 3), nn.Linear(24, 10), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x)).permute(0, 2, 3, 1).reshape(len(x), -1)
        x = F.relu(self.mid(x)).unflatten(1, (2, 5)).flatten(0, 1)
        return self.last(x).view(-1, 2, 3).sum(1)


class RelativePositions(nn.Module):
    """An embedding table read by a fixed index, as windows do; positions made of sines; slices with a stride."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.table, self.leave = nn.Linear(3, 4), nn.Embedding(9, 4), nn.Linear(8, 2)
        self.register_buffer("where", torch.arange(5) + 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x) + self.table(self.where)
        x = torch.cat([x[:, ::2], x.flip(1).roll(1, 1)[:, :3]], dim=-1)
        return self.leave(F.relu(x)).sum(1)


class CustomFunction(torch.autograd.Function):
    """A function of one's own: what it does is not known."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x.cumsum(1) * weight

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("not needed")


class Custom(nn.Module):
    """Around an operation that is not understood the units stay; further away they are free."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.weight, self.last = (
            nn.Linear(3, 4),
            nn.Linear(4, 5),
            nn.Parameter(torch.randn(5)),
            nn.Linear(5, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(CustomFunction.apply(self.second(F.relu(self.first(x))), self.weight))


ODD: dict[str, Odd] = {
    "shared everywhere": Odd(SharedEverywhere, (4,), 2, 0),
    "tied autoencoder": Odd(TiedAutoencoder, (7,), 1, 0),
    "dense blocks": Odd(DenseBlocks, (3, 4, 5), 3, 4),
    "u-net": Odd(UNet, (2, 8, 4), 4, 4),
    "squeeze-excitation": Odd(SqueezeExcitation, (3, 5, 6), 2, 0),
    "inverted residual": Odd(InvertedResidual, (3, 9, 8), 3, 1),
    "grouped and transposed": Odd(grouped_and_transposed, (2, 6, 5), 4, 1),
    "every norm": Odd(every_norm, (2, 6, 7), 6, 2, walked=(5, 2)),
    "channels last": Odd(ChannelsLast, (3, 6, 4), 2, 2),
    "pixel shuffles": Odd(pixel_shuffles, (2, 8, 12), 2, 2),
    "shuffled channels": Odd(shuffled_channels, (2, 6, 7), 2, 2),
    "attention by hand": Odd(HandWrittenAttention, (5, 3), 3, 1),
    "attention of parts": Odd(SeparateAttention, (5, 3), 3, 2),
    "self-attention": Odd(SelfAttention, (5, 3), 3, 1),
    "encoder layer": Odd(Encoder, (2, 6, 4), 4, 2),
    "decoder layer": Odd(Seq2Seq, (7, 3), 6, 3),
    "lstm cell by hand": Odd(Recurrence, (3, 3), 1, 0),
    "lstm": Odd(LSTM, (5, 3), 4, 0),
    "gru": Odd(GRU, (5, 3), 2, 1),
    "elman": Odd(Elman, (5, 3), 1, 0),
    "mixer with transposes": Odd(MixerWithTransposes, (2, 9, 4), 2, 0),
    "spatial gating": Odd(SpatialGating, (5, 3), 1, 0),
    "highway": Odd(Highway, (3,), 1, 0),
    "maxout": Odd(Maxout, (4,), 3, 2),
    "bilinear": Odd(Bilinear, (4,), 3, 2),
    "prelu": Odd(prelus, (2, 6, 6), 2, 2),
    "parametrised": Odd(Parametrised, (2, 6, 7), 3, 0),
    "sliced and reshaped": Odd(SlicedAndReshaped, (4,), 1, 0),
    "einsum": Odd(RawEinsum, (4, 3), 4, 3),
    "by hand": Odd(ManualLinear, (4,), 2, 0),
    "branching": Odd(Branching, (4,), 2, 2, unused=("seldom.weight", "seldom.bias")),
    "early exit": Odd(EarlyExit, (4,), 1, 0, unused=("seen",)),
    "branching cnn": Odd(BranchingCNN, (2, 8, 11), 4, 1),
    "unused": Odd(
        Unused, (4,), 1, 0, unused=("spare.weight", "spare.bias"), dead=("idle.weight", "idle.bias"), walked=(0, 0)
    ),
    "circular": Odd(circular, (2, 5, 6), 4, 4),
    "two pools": Odd(TwoPools, (2, 6, 5), 1, 1),
    "bottleneck": Odd(Bottleneck, (2, 6, 4), 4, 4),
    "experts": Odd(Experts, (4,), 3, 2),
    "one-dimensional": Odd(one_dimensional, (2, 23), 2, 1),
    "three-dimensional": Odd(three_dimensional, (2, 4, 5, 4), 2, 2),
    "flattens": Odd(Flattens, (2, 5, 4), 3, 2),
    "relative positions": Odd(RelativePositions, (5, 3), 1, 1),
    "custom": Odd(Custom, (3,), 1, 1),
}


def odd(name: str, seed: int = 0) -> nn.Module:
    """An odd module in evaluation mode, its tensors random, norms and running statistics too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = ODD[name].build().eval()
        for key, value in module.state_dict().items():
            if value.is_floating_point() and not key.endswith(("._u", "._v", "shift")):
                value.copy_(torch.randn_like(value) / max(1, value[0].numel() if value.ndim else 1) ** 0.5)
                if "running_var" in key:
                    value.abs_().add_(0.5)
    return module
