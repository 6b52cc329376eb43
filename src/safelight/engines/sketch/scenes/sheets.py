"""What every scene is drawn with: a canvas, colours, chance, and where the light stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safelight.engines.sketch.layers import Chance, Size
from safelight.engines.sketch.palettes import Colour, Idea, Palette, colour, mix


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a scene is drawn with: the canvas, the colours, chance, and where the light stands."""

    size: Size
    chance: Chance
    high: Colour
    middle: Colour
    horizon: Colour
    light: Colour
    far: Colour
    near: Colour
    accent: Colour
    dark: bool
    sun: tuple[float, float]  # shares of the canvas
    figures: tuple[str, ...]

    @property
    def unit(self) -> float:
        """The shorter side: what things are measured by."""
        return float(min(self.size))

    def ground(self, share: float) -> Colour:
        """The colour of the land, from the farthest (0) to the nearest (1)."""
        return mix(self.far, self.near, share)


def sheet_for(idea: Idea, palette: Palette, size: Size, chance: Chance) -> Sheet:
    """The sheet for `idea` in the colours of `palette`, as chance shifts them."""
    shift = chance.normal(0, 7, 3).astype(np.float32)  # no two skies are quite the same
    return Sheet(
        size=size,
        chance=chance,
        high=colour(palette.high) + shift,
        middle=colour(palette.middle) + shift,
        horizon=colour(palette.horizon) + shift / 2,
        light=colour(palette.light),
        far=colour(palette.far) + shift,
        near=colour(palette.near) + shift / 3,
        accent=colour(palette.accent),
        dark=palette.dark,
        sun=(float(chance.uniform(0.2, 0.8)), float(chance.uniform(0.2, 0.42))),
        figures=idea.figures,
    )
