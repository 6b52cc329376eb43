"""The scenes that can be drawn, each from a palette and a source of chance.

A scene is a function in `PAINTERS`: it takes a `Sheet` and gives layers, the farthest first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from safelight.engines.sketch.figures.foreground import foreground
from safelight.engines.sketch.layers import Chance, Layer, Size, Stage
from safelight.engines.sketch.palettes import PALETTES, Idea
from safelight.engines.sketch.scenes.cities import city
from safelight.engines.sketch.scenes.compositions import garden, portrait, ribbons, shapes
from safelight.engines.sketch.scenes.country import desert, forest, hills
from safelight.engines.sketch.scenes.drifting import motes
from safelight.engines.sketch.scenes.seas import sea
from safelight.engines.sketch.scenes.sheets import Sheet, sheet_for
from safelight.engines.sketch.scenes.spaces import space

PAINTERS: Mapping[str, Callable[[Sheet], list[Layer]]] = {
    "hills": hills,
    "sea": sea,
    "forest": forest,
    "city": city,
    "desert": desert,
    "garden": garden,
    "shapes": shapes,
    "portrait": portrait,
    "ribbons": ribbons,
    "space": space,
}


def stage(idea: Idea, size: Size, chance: Chance) -> Stage:
    """The scene of `idea`, ready to be composed at any time and from any place."""
    sheet = sheet_for(idea, PALETTES[idea.palette], size, chance)
    layers = PAINTERS[idea.scene](sheet)
    return Stage(
        size=size,
        layers=(*layers, *foreground(sheet.size, idea.figures, sheet.near, chance)),
        motes=motes(idea.motes, sheet),
    )
