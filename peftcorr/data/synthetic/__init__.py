"""A synthetic semantic-correspondence benchmark, rendered on the CPU from procedural articulated objects.

``render_view`` draws one object once with exact landmarks; ``generate`` writes a whole benchmark as a folder
in SPair-71k's layout, which the ordinary loader of that layout reads.
"""

from __future__ import annotations

from peftcorr.data.synthetic.categories import CATEGORIES
from peftcorr.data.synthetic.generate import SplitSizes, SyntheticConfig, generate, object_seed
from peftcorr.data.synthetic.scene import View, render_view

__all__ = ["CATEGORIES", "SplitSizes", "SyntheticConfig", "View", "generate", "object_seed", "render_view"]
