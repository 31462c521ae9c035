"""Writing: networks for a module that was read, from noise or from starts, completed, with statistics of their own."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from weightsmith.datasets import Split, is_at_hand, load_dataset
from weightsmith.ensemble import evaluate, has_running_statistics, recalibrated
from weightsmith.errors import WeightsmithError
from weightsmith.generators.universal import StartedGenerator, UniversalGenerator
from weightsmith.layout import Layout
from weightsmith.seeds import derive_seed
from weightsmith.universal.borrowing import initialised, is_blank
from weightsmith.universal.coverage import Coverage
from weightsmith.universal.reading import Reading
from weightsmith.universal.starting import Start, constant_tensors, given_starts, standard_start
from weightsmith.universal.synthesis import State, Synthesis, widened

AnyGenerator = UniversalGenerator | StartedGenerator


def write_networks(
    generator: AnyGenerator,
    covers: Coverage,
    reading: Reading,
    n: int,
    seed: int,
    recalibrate: bool,
    check: bool,
    start: Start | None,
) -> Synthesis:
    """`n` networks; see `UniversalSynthesizer.write`."""
    seeds = [derive_seed(seed, "synthesis", i) for i in range(n)]
    given = None if start is None else given_starts(reading, start)
    if isinstance(generator, StartedGenerator):
        starts = given or [standard_start(reading, derive_seed(one, "start")) for one in seeds]
        made = [_from_start(generator, reading, one) for one in starts]
    else:
        starts, made = [], [_from_noise(generator, reading, one) for one in seeds]
    kept = given or [{}] * n
    written = [_completed(reading, *parts) for parts in zip(made, kept, seeds, strict=True)]
    warnings = [*reading.problems, *_silent(reading, starts), *_frozen(reading)]
    if not reading.blueprint.units and not starts and _repeated(made):
        warnings.append(
            "it has no hidden units that may change places, whose noise networks differ by: all are the same"
        )
    bad = [str(i) for i, state in enumerate(written) if not is_finite(state)]
    if bad:
        warnings.append(f"networks {', '.join(bad)} hold values that are not finite")
    measured, why_not = _with_statistics(reading, covers, written) if recalibrate else (None, _NOT_ASKED)
    if why_not and has_running_statistics(reading.form):
        warnings.append(why_not)
    here = tuple(_placed(state, reading.device) for state in written)
    networks = here if measured is None else tuple(_placed(state, reading.device) for state in measured)
    right = _training_accuracies(reading, covers, networks) if check else None
    warnings += _poor(right or (), covers)
    return Synthesis(networks, here, reading, measured is not None, tuple(warnings), tuple(starts), right)


def _repeated(made: Sequence[State]) -> bool:
    """Whether what was generated is the same for all of several networks."""
    first = made[0]
    return len(made) > 1 and all(torch.equal(one[name], first[name]) for one in made[1:] for name in first)


_NOT_ASKED = "running statistics stand as in the module, since recalibration was not wanted"


def _training_accuracies(reading: Reading, covers: Coverage, states: Sequence[State]) -> tuple[float, ...] | None:
    """Which share of some training images each network gets right; nothing where that cannot be found out."""
    if not is_at_hand(covers.request):
        return None
    try:
        some = load_dataset(covers.request).train.head(CHECKED)
        form, weights = widened(reading.form, states, torch.float32)
        return tuple(one.accuracy for one in evaluate(form, weights, some))
    except Exception:  # damaged files, or whatever comes out of a user's module
        return None


CHECKED = 1000  # training images, where there are as many


def _poor(right: Sequence[float], covers: Coverage) -> list[str]:
    """A sentence on networks that are nearer to chance than to getting all images right."""
    enough = (1 + 1 / covers.classes) / 2
    bad = {i: share for i, share in enumerate(right) if not share >= enough}
    if not bad:
        return []
    most = f"{100 * max(bad.values()):.1f} % of training images right"
    if len(bad) == len(right):
        return [f"badly written: no network gets more than {most}"]
    return [f"badly written: of networks {', '.join(map(str, bad))} none gets more than {most}"]


def _from_noise(generator: UniversalGenerator, reading: Reading, seed: int) -> State:
    if not reading.blueprint.tensors:
        return {}
    with torch.no_grad():
        return generator.weights(reading.blueprint, torch.Generator().manual_seed(derive_seed(seed, "noise")))


def _from_start(generator: StartedGenerator, reading: Reading, start: State) -> State:
    if not reading.blueprint.tensors:
        return {}
    with torch.no_grad():
        return generator.from_start(reading.blueprint, start, torch.Generator())


def _silent(reading: Reading, starts: Sequence[State]) -> list[str]:
    """A sentence for every start with tensors that say nothing."""
    found = [(i, constant_tensors(reading, start)) for i, start in enumerate(starts)]
    return [
        f"start {i} is constant in {', '.join(names[:4])}: it tells no units apart there" for i, names in found if names
    ]


def _frozen(reading: Reading) -> list[str]:
    """A sentence on parameters that need no gradient while others do, which a user may mean to keep."""
    frozen = {name for name, value in reading.form.named_parameters() if not value.requires_grad}
    if len(frozen) == len(list(reading.form.parameters())):
        return []
    written = [name for name in reading.generated if name in frozen]
    return [f"written although the module asks for no gradient of them: {', '.join(written[:4])}"] if written else []


def _completed(reading: Reading, found: State, kept: State, seed: int) -> State:
    """One complete state on the CPU, of the module's types; what is not generated is as in `kept` where it is there."""
    anew = sorted({one.path for one in reading.untouched if one.source == "initialised" and one.tensor not in kept})
    standard = initialised(copy.deepcopy(reading.form), anew, derive_seed(seed, "standard")) if anew else {}
    for one in reading.untouched:
        other = standard if one.source == "initialised" else reading.stands
        found[one.tensor] = kept[one.tensor] if one.tensor in kept else other[one.tensor]
    cast: dict[int, Tensor] = {}  # so that what is tied is one tensor here, too
    return {name: _cast(found[name], like, cast) for name, like in reading.stands.items()}


def _cast(value: Tensor, like: Tensor, known: dict[int, Tensor]) -> Tensor:
    if id(value) not in known:
        known[id(value)] = value.detach().to(like.device, like.dtype, copy=True).contiguous()
    return known[id(value)]


def is_finite(state: State) -> bool:
    """Whether every number of a state is one."""
    return all(not value.is_floating_point() or bool(value.isfinite().all()) for value in state.values())


def _placed(state: State, device: torch.device) -> State:
    return {name: value.to(device) for name, value in state.items()}


def _with_statistics(reading: Reading, covers: Coverage, states: Sequence[State]) -> tuple[list[State] | None, str]:
    """The states with running statistics of their own on training images; or nothing, and why."""
    if not has_running_statistics(reading.form):
        return None, ""
    unsaved = [name for name, value in reading.form.named_buffers() if name not in reading.stands and is_blank(value)]
    if unsaved:
        return None, f"running statistics stand as in the module, since its buffer {unsaved[0]!r} has no value"
    try:
        train = load_dataset(covers.request).train
    except WeightsmithError as error:
        reason = error.message.splitlines()[0]
        return None, f"running statistics stand as in the module, since {covers.dataset} cannot be had: {reason}"
    try:
        return _recalibrated(reading.form, states, train), ""
    except Exception as error:  # anything may come out of a user's module
        return None, f"running statistics stand as in the module, since it cannot be run: {error}"


def _recalibrated(form: nn.Module, states: Sequence[State], train: Split) -> list[State]:
    """In single precision at least, whatever the types are."""
    wide = torch.float64 if Layout.of(form).dtype == torch.float64 else torch.float32
    form, weights = widened(form, states, wide)
    measured = recalibrated(form, weights, Split(train.images.to(wide), train.labels)).states()
    return [
        {name: value if _same(value, after[name]) else after[name].to(value.dtype) for name, value in state.items()}
        for state, after in zip(states, measured, strict=True)
    ]


def _same(value: Tensor, after: Tensor) -> bool:
    return torch.equal(value.to(after.dtype), after)
