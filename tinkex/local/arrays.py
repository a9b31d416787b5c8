"""Names for the arrays that travel between the parts of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Weights = dict[str, Floats]
