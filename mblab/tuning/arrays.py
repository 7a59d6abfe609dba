"""What the tuner's arrays hold, by name: whole numbers (rows, nanoseconds), real ones (seconds), yes or no.

[arrays] -> every file of the tuner that does algebra
"""

import numpy as np
import numpy.typing as npt

__all__ = ["Bools", "Floats", "Ints"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
