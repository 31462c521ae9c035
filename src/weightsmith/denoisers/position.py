"""Where a token stands: learned embeddings of its tensor, of its unit in it, and of the chunk of that unit."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.denoisers.numbers import constant
from weightsmith.tokens import TokenMeaning


class PositionEmbedding(nn.Module):
    """`p_i = A[tensor] + B[tensor, unit] + C[tensor, chunk]` for the token i, `[token, width]`.

    All entries are drawn with deviation `1 / sqrt(3)`: units that start out nearly alike stay so.
    """

    tensor_of: Tensor
    unit_of: Tensor
    chunk_of: Tensor

    def __init__(self, meanings: Sequence[TokenMeaning], width: int) -> None:
        super().__init__()
        keys: dict[str, list[Hashable]] = {
            "tensor": [(m.tensor, m.role) for m in meanings],
            "unit": [(m.tensor, m.role, m.unit) for m in meanings],
            "chunk": [(m.tensor, m.role, m.chunk) for m in meanings],
        }
        self.tables = nn.ModuleDict()
        for name, of_token in keys.items():
            rows = {key: row for row, key in enumerate(dict.fromkeys(of_token))}
            self.tables[name] = nn.Embedding(len(rows), width)
            nn.init.normal_(self.tables[name].weight, std=3**-0.5)  # type: ignore[arg-type]
            self.register_buffer(f"{name}_of", constant([rows[key] for key in of_token]), persistent=False)

    def forward(self) -> Float[Tensor, "token width"]:
        return (
            self.tables["tensor"](self.tensor_of)
            + self.tables["unit"](self.unit_of)
            + self.tables["chunk"](self.chunk_of)
        )
