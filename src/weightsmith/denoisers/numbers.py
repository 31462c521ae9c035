"""The numbers of a token space that mean something: read without padding, written back with zeros for it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from weightsmith.denoisers.given import GivenBatch
from weightsmith.errors import BadInput
from weightsmith.tokens import TokenSpace


def constant(values: Tensor | list[int]) -> Tensor:
    """A table that follows from the token space, so that it need not be saved.

    It is made on the CPU explicitly: where a network is made on the meta device to be filled from a file, a table must
    hold its values nevertheless.
    """
    return torch.as_tensor(values, device="cpu").clone()


class Numbers(nn.Module):
    """Reads the channels of each number of a space, and holds zeros wherever there is padding.

    One channel (x), or with `reads_given` three: x, the known value, and 1 where it is known.
    """

    valid: Tensor
    index: Tensor

    def __init__(self, space: TokenSpace, reads_given: bool) -> None:
        super().__init__()
        self.reads_given = reads_given
        self.channels = 3 if reads_given else 1
        self.register_buffer("valid", constant(space.valid), persistent=False)
        self.register_buffer("index", constant(space.valid).flatten().nonzero().flatten(), persistent=False)

    def read(
        self,
        x: Float[Tensor, "batch token dim"],
        given: GivenBatch | None,
        mask: Bool[Tensor, "batch token"] | None,
    ) -> Float[Tensor, "batch channel token dim"]:
        """The channels, zero in padding. Raises `BadInput` for tokens of another space, or for an unread `given`."""
        if x.shape[1:] != self.valid.shape:
            raise BadInput(
                f"tokens {list(x.shape[1:])} were given to a network for {list(self.valid.shape)}",
                "use tokens of the codec that the network was made for",
            )
        if given is not None and not self.reads_given:
            raise BadInput("given numbers for a network that does not read them", "make it with reads_given=True")
        real = self._real(mask)
        channels = [torch.where(real, x, 0)]
        if self.reads_given and given is None:
            channels += [torch.zeros_like(x)] * 2
        elif given is not None:
            known = given.known & real
            channels += [torch.where(known, given.values, 0).to(x.dtype), known.to(x.dtype)]
        return torch.stack(channels, dim=1)

    def only_real(
        self, y: Float[Tensor, "batch token dim"], mask: Bool[Tensor, "batch token"] | None
    ) -> Float[Tensor, "batch token dim"]:
        """Zeros in padding, whatever stood there."""
        return torch.where(self._real(mask), y, 0)

    def flat(self, channels: Float[Tensor, "batch channel token dim"]) -> Float[Tensor, "batch number"]:
        """The valid numbers of every channel as one vector."""
        return channels.flatten(2).index_select(2, self.index).flatten(1)

    def unflat(self, y: Float[Tensor, "batch number"]) -> Float[Tensor, "batch token dim"]:
        """The inverse of `flat` for one channel, with zeros in padding."""
        whole = y.new_zeros(len(y), self.valid.numel()).index_copy(1, self.index, y)
        return whole.view(len(y), *self.valid.shape)

    def _real(self, mask: Tensor | None) -> Tensor:
        return self.valid if mask is None else self.valid & mask[:, :, None]
