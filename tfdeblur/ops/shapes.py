"""Names for the tensors that networks, losses and objectives exchange.

Shapes and dtypes of Keras tensors cannot be checked by a type checker, so the aliases document
them: each carries its contract, and a search for the alias finds all that take or return it.
"""

from typing import Annotated, Any

Tensor = Any
"""A tensor of the backend that Keras runs on."""

ImageBatch = Annotated[Tensor, "floating point [B, H, W, C], RGB unless stated otherwise"]
ScoreMap = Annotated[Tensor, "float32 [B, h, w, 1], one linear score per patch"]
PerExample = Annotated[Tensor, "float32 [B], one value per image of the batch"]
