"""Types of arrays by their elements; docstrings say the shapes."""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.integer]
# Indices of rows, clips or labels.
Rows = npt.NDArray[np.intp]
