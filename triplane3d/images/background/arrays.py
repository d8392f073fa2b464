"""Types of the arrays that pass between the modules of this folder."""

import numpy as np
from jaxtyping import Bool, Float

Rgb = Float[np.ndarray, "height width 3"]
"""sRGB in 0..1."""

Lab = Float[np.ndarray, "height width 3"]
"""CIE L*a*b*: the Euclidean distance of two colours is their difference (CIE76). 1 is hardly visible, 10 is obvious."""

Difference = Float[np.ndarray, "height width"]
"""Colour difference (CIE76) of each pixel to the colour that a backdrop would have there."""

Mask = Bool[np.ndarray, "height width"]
"""True where the object is."""

Opacity = Float[np.ndarray, "height width"]
"""The object's opacity in 0..1."""
