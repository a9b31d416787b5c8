"""Names for the arrays that the parts of the model pass to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Weights = dict[str, Floats]
"""Arrays by name: the adapters of a model, their gradients, or their moments in the optimizer."""
