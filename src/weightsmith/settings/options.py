"""The options of each registered codec and generator, and where those of architectures are: a typed model a name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from weightsmith.settings import architecture_options as architectures
from weightsmith.settings.closed import Optional, Options, Width
from weightsmith.settings.scalars import Integer, Number, Truth, read_text

RoleName = Annotated[Literal["weight", "bias", "norm", "buffer"], BeforeValidator(read_text)]
Standardise = Annotated[Literal["none", "tensor", "position"], BeforeValidator(read_text)]


class CodecOptions(Options):
    """What any codec can be told: which networks it is given to encode, before it does."""

    canonical: Truth = Field(
        default=False,
        description="Whether ReLU scales are balanced and units aligned to a training network (the medoid) first; "
        "decoded networks are then canonical forms, of the same function.",
    )
    roles: Annotated[Annotated[list[RoleName], Field(min_length=1)] | None, Optional] = Field(
        default=None,
        description="The roles of the tensors to encode (weight, bias, norm, buffer), or null for all; "
        "others are completed from the mean training network.",
    )


class FlatOptions(CodecOptions):
    """The whole network as one vector."""

    standardise: Truth = Field(
        default=True, description="Whether each tensor is shifted to mean zero and scaled to deviation one."
    )


class SpanOptions(CodecOptions):
    """Coordinates in the span of the training checkpoints."""


class PcaOptions(CodecOptions):
    """Coordinates along the principal axes of the training networks."""

    components: Annotated[Width | None, Optional] = Field(
        default=None, description="How many axes, or null for all; with fewer than all the codec is lossy."
    )
    whiten: Truth = Field(default=True, description="Whether each coordinate is scaled to deviation one.")


class UnitOptions(CodecOptions):
    """A token for each output unit of each layer."""

    width: Annotated[Width | None, Optional] = Field(
        default=256, description="The most numbers of a token; a longer unit is several. null: the longest unit's."
    )
    standardise: Standardise = Field(
        default="tensor",
        description="Over what means and deviations are taken: a whole tensor, each position over the training "
        "networks, or none.",
    )


class AutoencoderOptions(UnitOptions):
    """Learned latents of unit tokens."""

    latent: Width = Field(default=64, description="Numbers of a latent token; at most those of a unit token.")
    hidden: list[Width] = Field(default=[256], description="Units of the encoder's hidden layers; the decoder mirrors.")
    epochs: Annotated[Integer, Field(ge=0, le=10**6)] = Field(
        default=50, description="Passes over the training tokens; the best epoch is kept."
    )
    batch_size: Width = Field(default=256, description="Tokens in a training step.")
    learning_rate: Annotated[Number, Field(gt=0, le=10)] = Field(default=1e-3, description="Step size of its training.")
    noise: Annotated[Number, Field(ge=0, le=100)] = Field(
        default=0.0, description="Noise on latents in its training, in deviations of each latent number."
    )
    held_out: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of the networks, the last ones, that choose the epoch instead of training."
    )
    seed: Annotated[Integer, Field(ge=0, lt=2**63)] = Field(default=0, description="What its training is drawn from.")


class TransitionOptions(Options):
    """The network of the transition model."""

    time_embedding: Width = Field(default=128, description="Features in which the step is embedded.")
    hidden: Width = Field(default=512, description="Units of each hidden layer.")
    layers: Annotated[Integer, Field(ge=1, le=64)] = Field(default=2, description="Number of hidden layers.")


Portion = Annotated[Number, Field(ge=0, le=1)]
Names = list[Annotated[str, BeforeValidator(read_text)]]


class DiffusionOptions(Options):
    """Diffusion or flow matching on tokens: path, prediction, network, conditions, and how it samples."""

    path: Annotated[Literal["vp-linear", "vp-cosine", "flow"], BeforeValidator(read_text)] = Field(
        default="flow", description="From data to noise: variance-preserving with a schedule, or a straight line."
    )
    timesteps: Annotated[Integer, Field(ge=1, le=10**6)] = Field(
        default=1000, description="Time steps of a variance-preserving path."
    )
    shift: Annotated[Number, Field(gt=0, le=1000)] = Field(
        default=1.0, description="Where samplers of a straight path stop: above 1, more often near noise."
    )
    prediction: Annotated[Literal["noise", "x0", "v", "velocity"], BeforeValidator(read_text)] = Field(
        default="velocity", description="What the network says of a noisy state."
    )
    denoiser: Annotated[Literal["simple", "mlp", "transformer"], BeforeValidator(read_text)] = Field(
        default="mlp", description="The network: the note's plain one, a residual perceptron, a transformer on tokens."
    )
    width: Width = Field(default=512, description="Units of its layers.")
    blocks: Annotated[Integer, Field(ge=1, le=256)] = Field(default=4, description="Its blocks, or hidden layers.")
    memory: Annotated[Integer, Field(ge=0, le=2**20)] = Field(
        default=0,
        description="Slots of a learned memory before the blocks of mlp, which tells networks apart; 0 is none.",
    )
    heads: Annotated[Integer, Field(ge=1, le=256)] = Field(default=4, description="Attention heads of a transformer.")
    condition_width: Width = Field(default=128, description="Features in which time and conditions are embedded.")
    conditions: list[Annotated[Literal["accuracy", "loss"], BeforeValidator(read_text)]] = Field(
        default=[], description="Measures of a network that can be asked for."
    )
    datasets: Names = Field(
        default=[],
        description="Data sets that can be asked for, by name; none is no condition. All that vary.dataset names.",
    )
    architectures: Names = Field(default=[], description="Architectures that can be asked for, by name.")
    given: Truth = Field(default=False, description="Whether it learns to fill in some tensors given the others.")
    times: Annotated[Literal["uniform", "logit-normal"], BeforeValidator(read_text)] = Field(
        default="uniform",
        description="The times it is trained at: alike between data and noise, or mostly where "
        "logit t = times_location + times_scale z.",
    )
    times_location: Annotated[Number, Field(ge=-20, le=20)] = Field(
        default=0.0, description="The median of logit-normal times, as a logit: above 0 is nearer to noise."
    )
    times_scale: Annotated[Number, Field(gt=0, le=20)] = Field(
        default=1.0, description="How far logit-normal times spread about their median."
    )
    drop: Portion = Field(default=0.1, description="Share of examples whose conditions are dropped, for guidance.")
    sampler: Annotated[
        Literal["ddpm", "ddim", "dpm-solver", "euler", "heun", "flow-sde"], BeforeValidator(read_text)
    ] = Field(default="heun", description="How it samples where nothing else is asked for.")
    steps: Annotated[Integer, Field(ge=1, le=10**5)] = Field(
        default=20, description="Steps of the sampler where nothing else is asked for."
    )
    guidance: Annotated[Number, Field(ge=0, le=100)] = Field(
        default=1.0, description="Classifier-free guidance where nothing else is asked for; 1 is none."
    )


class UniversalOptions(Options):
    """The hypernetwork that reads the graph of an architecture and writes its weights."""

    noise: Annotated[Integer, Field(ge=1, le=2**16)] = Field(default=64, description="Numbers drawn for each unit.")
    dim: Annotated[Integer, Field(ge=1, le=2**16)] = Field(
        default=128, description="Numbers of the code of a unit, a multiple of heads."
    )
    rank: Annotated[Integer, Field(ge=1, le=2**16)] = Field(
        default=320, description="Products that are summed for each weight: the rank of what is written."
    )
    depth: Annotated[Integer, Field(ge=1, le=256)] = Field(default=4, description="Blocks on the code of each unit.")
    heads: Annotated[Integer, Field(ge=1, le=256)] = Field(default=4, description="Heads of attention.")
    context: Annotated[Integer, Field(ge=0, le=256)] = Field(
        default=2, description="Blocks of attention among the tensors of a network, before units are told of them."
    )
    group_share: Portion = Field(default=0.3, description="Share of the drawn numbers common to the units of a group.")
    fixed_share: Portion = Field(
        default=0.0,
        description="Share of the drawn numbers' variance that is the same for all networks: 1 learns fastest, and "
        "writes the same network each time.",
    )
    start_share: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Share of a matrix or kernel that is drawn anew for every network, at most: with more of it, "
        "networks of one architecture differ more, and are a little worse.",
    )


OPTIONS: dict[str, dict[str, type[Options]]] = {
    "architecture": {
        "target_cnn": architectures.TargetCnnOptions,
        "mlp": architectures.MlpOptions,
        "cnn": architectures.CnnOptions,
        "residual": architectures.ResidualOptions,
        "separable": architectures.SeparableOptions,
        "vit": architectures.VitOptions,
        "mixer": architectures.MixerOptions,
        "tokens": architectures.TokensOptions,
        "axial": architectures.AxialOptions,
        "hybrid": architectures.HybridOptions,
        "medley": architectures.MedleyOptions,
    },
    "codec": {
        "flat": FlatOptions,
        "span": SpanOptions,
        "pca": PcaOptions,
        "unit": UnitOptions,
        "autoencoder": AutoencoderOptions,
    },
    "generator": {"transition": TransitionOptions, "diffusion": DiffusionOptions, "universal": UniversalOptions},
}


def validate_options(kind: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """`options` of the registered `name`, checked and with every default filled in; raises pydantic's error."""
    return OPTIONS[kind][name].model_validate(options).model_dump()
