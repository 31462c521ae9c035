"""The options of each registered architecture: what it is made of, and what of that does not go together."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from weightsmith.settings.architecture_fields import (
    HEAD,
    NORM,
    Activation,
    DenseNorm,
    Few,
    HeadKind,
    Kernel,
    Norm,
    require_alike,
    require_divisor,
    require_norm,
)
from weightsmith.settings.closed import Options, Width
from weightsmith.settings.scalars import Integer, Truth, read_text, refuse

SUMS = 8  # learned sums of tokens that a head may read
HYBRID_GROUPS, HYBRID_HEADS, MEDLEY_GROUPS = 4, 4, 4
MEDLEY_KERNELS = {"large": 5, "pointwise": 1}  # of kinds whose kernels are not 3x3


class TargetCnnOptions(Options):
    """Two 3x3 convolutions, each with ReLU and 2x2 max pooling, then two linear layers."""

    channels1: Width = Field(default=32, description="Output channels of the first convolution.")
    channels2: Width = Field(default=64, description="Output channels of the second convolution.")
    hidden: Width = Field(default=128, description="Units of the hidden linear layer.")


class MlpOptions(Options):
    """Linear layers with an activation between them."""

    hidden: list[Width] = Field(default=[32, 32], description="Units of each hidden layer, first to last.")
    activation: Activation = Field(default="relu", description="The function after each hidden layer.")
    norm: DenseNorm = Field(default="none", description="The norm in front of each activation.")


class CnnOptions(Options):
    """Convolutions in a row, the grid halved after the first two, and a head."""

    channels: list[Width] = Field(default=[32, 64], min_length=1, description="Output channels of each convolution.")
    kernel: Kernel = Field(default=3, description="Height and width of every convolution's kernel, an odd number.")
    groups: Width = Field(default=1, description="Groups of every convolution but the first.")
    activation: Activation = Field(default="relu", description="The function after each convolution.")
    norm: Norm = Field(default="none", description=NORM)
    pool: Annotated[Literal["max", "average", "stride", "depthwise"], BeforeValidator(read_text)] = Field(
        default="max",
        description="How the grid is halved: 2x2 pooling, a stride of two, or a learned 3x3 filter a channel.",
    )
    head_kind: HeadKind = Field(default="flatten", description=HEAD)
    hidden: Annotated[Integer, Field(ge=0, le=2**24)] = Field(
        default=128, description="Units of the head's hidden layer; 0 is none."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kernel % 2 == 0:
            refuse("an odd kernel, which keeps the grid", f"write {self.kernel + 1}")
        require_divisor("a number of groups", self.groups, self.channels if len(self.channels) > 1 else ())
        require_norm(self.norm, self.channels)
        return self


class ResidualOptions(Options):
    """A strided stem, stages of residual blocks, each but the first on half the grid, and a head."""

    channels: list[Width] = Field(default=[32, 64], min_length=1, description="Output channels of each stage.")
    blocks: list[Few] = Field(default=[1, 1], min_length=1, description="Residual blocks of each stage.")
    bottleneck: Truth = Field(default=False, description="Whether blocks are 1x1, 3x3, 1x1 instead of 3x3, 3x3.")
    group_width: Annotated[Integer, Field(ge=0, le=2**24)] = Field(
        default=0, description="Channels of each group of a block's second convolution; 0 is one group of all."
    )
    activation: Activation = Field(default="relu", description="The function after each convolution.")
    norm: Norm = Field(default="batch", description=NORM)
    head_kind: HeadKind = Field(default="average", description=HEAD)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.channels) != len(self.blocks):
            given = f"there are {len(self.channels)} and {len(self.blocks)}"
            refuse("as many entries in blocks as in channels, one a stage", given)
        if self.bottleneck and min(self.channels) < 8:
            refuse("at least 8 channels with bottleneck", f"the fewest are {min(self.channels)}")
        inner = [bottleneck_width(c) for c in self.channels] if self.bottleneck else self.channels
        if self.group_width:
            require_divisor("a group_width", self.group_width, inner)
        require_norm(self.norm, [*self.channels, *inner])
        return self


class SeparableOptions(Options):
    """A strided stem, blocks of a 3x3 depthwise and a 1x1 convolution, the first on half the grid, and a head."""

    channels: list[Width] = Field(
        default=[32, 64, 64], min_length=1, description="Output channels of the stem and of each block."
    )
    activation: Activation = Field(default="relu", description="The function after each convolution.")
    norm: Norm = Field(default="batch", description=NORM)
    residual: Truth = Field(default=False, description="Whether blocks that change no shape add their input.")
    head_kind: HeadKind = Field(default="average", description=HEAD)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        require_norm(self.norm, self.channels)
        return self


class VitOptions(Options):
    """A vision transformer: patches embedded, blocks of attention and perceptron, a norm, a linear head."""

    patch: Width = Field(default=7, description="Height and width of a patch in pixels.")
    dim: Width = Field(default=64, description="Features of a token.")
    depth: Few = Field(default=2, description="Blocks.")
    heads: Annotated[Integer, Field(ge=0, le=2**16)] = Field(
        default=4, description="Attention heads; with 0 the tokens do not see one another before the head."
    )
    latents: Annotated[Integer, Field(ge=0, le=2**16)] = Field(
        default=0,
        description="Learned sums of the tokens that attend to each other in their place, and are spread over them "
        "again; with 0 the tokens do.",
    )
    positions: Truth = Field(default=True, description="Whether a learned vector is added to each token.")
    ratio: Few = Field(default=2, description="Hidden units of a block's perceptron, as a multiple of dim.")
    activation: Activation = Field(default="gelu", description="The function inside the perceptrons.")
    pool: Annotated[Literal["average", "token", "linear"], BeforeValidator(read_text)] = Field(
        default="average",
        description="What the head reads: the mean of the tokens, a class token, or learned sums of tokens.",
    )
    projections: Annotated[Literal["packed", "chunked", "separate"], BeforeValidator(read_text)] = Field(
        default="packed",
        description="Queries, keys and values: one layer, viewed as three or cut into three, or three layers.",
    )
    norm_first: Truth = Field(default=True, description="Norms before what is added in a block, or after the sum.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.heads:
            require_divisor("a number of heads", self.heads, [self.dim])
        elif self.latents:
            refuse("latents only with heads", "they are there to attend to each other")
        return self


class MixerOptions(Options):
    """An MLP-mixer: patches embedded, perceptrons over tokens and over features in turn, a norm, a linear head."""

    patch: Width = Field(default=4, description="Height and width of a patch in pixels.")
    dim: Width = Field(default=64, description="Features of a token.")
    depth: Few = Field(default=2, description="Blocks.")
    token_hidden: Width = Field(default=64, description="Hidden units of the perceptron over tokens.")
    ratio: Few = Field(default=2, description="Hidden units of the perceptron over features, as a multiple of dim.")
    activation: Activation = Field(default="gelu", description="The function inside the perceptrons.")


TokensBlockKind = Annotated[Literal["perceptron", "attention", "latents"], BeforeValidator(read_text)]


class TokensOptions(Options):
    """Patches embedded, blocks that mix tokens and not features, a norm, a linear head."""

    patch: Width = Field(default=4, description="Height and width of a patch in pixels.")
    dim: Width = Field(default=64, description="Features of a token.")
    blocks: list[TokensBlockKind] = Field(
        default=["perceptron", "attention"],
        min_length=1,
        description="perceptron over tokens; attention among them; latents: attention among learned sums of them.",
    )
    hidden: Width = Field(default=64, description="Hidden units of the perceptrons, and how many learned sums.")
    heads: Few = Field(default=4, description="Attention heads.")
    activation: Activation = Field(default="gelu", description="The function inside the perceptrons.")
    pool: Annotated[Literal["average", "linear"], BeforeValidator(read_text)] = Field(
        default="average", description="What the head reads: the mean of the tokens, or learned sums of tokens."
    )
    positions: Truth = Field(default=False, description="Whether a learned vector is added to each token.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if set(self.blocks) - {"perceptron"}:
            require_divisor("a number of heads", self.heads, [self.dim])
        return self


class AxialOptions(Options):
    """Linear layers over the columns and over the rows of an image in turn, then a head."""

    widths: list[Width] = Field(default=[48, 48], description="Units of each axial layer, columns first.")
    activation: Activation = Field(default="relu", description="The function after each layer.")
    hidden: Annotated[Integer, Field(ge=0, le=2**24)] = Field(
        default=0, description="Units of the head's hidden layer; 0 is none."
    )
    residual: Truth = Field(
        default=False, description="Whether layers are blocks x + perceptron(x), of which widths are the hidden units."
    )


HybridBlockKind = Annotated[
    Literal["convolution", "grouped", "depthwise", "pointwise", "perceptron", "rows", "columns", "attention"],
    BeforeValidator(read_text),
]


class HybridOptions(Options):
    """A strided stem, blocks of many kinds in any order, the grid halved once among them, and a head."""

    width: Width = Field(default=32, description="Channels of all layers, in fours.")
    blocks: list[HybridBlockKind] = Field(
        default=["convolution", "attention"],
        min_length=1,
        description="3x3 convolution, grouped or depthwise; 1x1 pointwise; perceptron of two of these; perceptron over "
        "rows or columns; attention among places.",
    )
    hidden: Width = Field(default=32, description="Hidden units of the perceptrons over rows and columns.")
    activation: Activation = Field(default="relu", description="The function after each layer.")
    norm: Norm = Field(default="batch", description=NORM)
    residual: Truth = Field(default=False, description="Whether blocks of one layer add their input, as all others do.")
    pool: Annotated[Literal["max", "average", "depthwise"], BeforeValidator(read_text)] = Field(
        default="max", description="How the grid is halved: 2x2 pooling, or a learned strided 3x3 filter a channel."
    )
    halved_before: Annotated[Integer, Field(ge=0, le=1024)] = Field(
        default=1, description="The number, from 0, of the block before which it is."
    )
    head_kind: HeadKind = Field(default="average", description=HEAD)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        require_divisor("the number of heads and groups", HYBRID_GROUPS, [self.width])
        if self.halved_before >= len(self.blocks):
            refuse("halved_before the number of a block", f"there are {len(self.blocks)}, the first is 0")
        return self


MedleyKind = Annotated[Literal["convolution", "large", "grouped", "depthwise", "pointwise"], BeforeValidator(read_text)]
Halving = Annotated[Literal["none", "stride", "max", "average"], BeforeValidator(read_text)]


class MedleyOptions(Options):
    """Convolutions and then linear layers in a row, each with a norm, an activation and a kind of its own."""

    kinds: list[MedleyKind] = Field(
        default=["convolution", "depthwise", "convolution"],
        description="Of each convolution: 3x3 convolution, large (5x5), grouped or depthwise (3x3), pointwise (1x1).",
    )
    widths: list[Width] = Field(default=[32, 32, 48], description="Output channels of each convolution.")
    norms: list[Norm] = Field(default=["batch", "none", "layer"], description="The norm after each convolution.")
    activations: list[Activation] = Field(default=["relu", "gelu", "tanh"], description="The function after each norm.")
    halvings: list[Halving] = Field(
        default=["stride", "none", "max"],
        description="How each convolution's grid is halved: not, by its stride, or pooled 2x2 after it.",
    )
    adds: Truth = Field(default=False, description="Whether convolutions that change no shape add their input.")
    head_kind: HeadKind = Field(default="average", description=HEAD)
    dense: list[Width] = Field(default=[], description="Units of each hidden linear layer.")
    dense_norms: list[DenseNorm] = Field(default=[], description="The norm after each of them.")
    dense_activations: list[Activation] = Field(default=[], description="The function after each of those norms.")
    padded: Truth = Field(default=True, description="Whether convolutions keep the grid, or stay inside it.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.adds and not self.padded:
            refuse("padded convolutions where their input is added", "others have another grid")
        require_alike(len(self.kinds), widths=self.widths, norms=self.norms, activations=self.activations)
        require_alike(len(self.kinds), halvings=self.halvings)
        require_alike(len(self.dense), dense_norms=self.dense_norms, dense_activations=self.dense_activations)
        if not self.kinds and self.head_kind != "flatten":
            refuse("head_kind flatten where there are no convolutions", "averages of an image are few numbers")
        for i, (kind, width) in enumerate(zip(self.kinds, self.widths, strict=True)):
            if kind in ("grouped", "depthwise") and not i:
                refuse(f"{kind} convolutions behind another", "the first one is of another kind")
            if kind == "grouped":
                require_divisor("a number of groups", MEDLEY_GROUPS, self.widths[i - 1 : i + 1])
            if kind == "depthwise" and width != self.widths[i - 1]:
                refuse("depthwise convolutions as wide as what they read", f"{width} is not {self.widths[i - 1]}")
            require_norm(self.norms[i], [width])
        return self


def bottleneck_width(channels: int) -> int:
    """Channels inside a bottleneck: half of those outside, in fours."""
    return channels // 8 * 4
