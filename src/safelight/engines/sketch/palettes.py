"""From the words of a prompt to what is drawn, in which colours, and what drifts in the air."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from safelight.task import Record

Colour: TypeAlias = NDArray[np.floating[Any]]  # red, green, blue, 0 to 255


class Palette(Record, frozen=True, kw_only=True):
    """Seven colours that go together, as they are needed from the sky down to the ground."""

    high: str
    middle: str
    horizon: str
    light: str  # sun, moon, lit windows
    far: str
    near: str
    accent: str
    dark: bool = False  # stars may be seen


class Idea(Record, frozen=True, kw_only=True):
    """What a prompt comes to: names from `PALETTES`, from the scenes, figures and motes."""

    scene: str
    palette: str
    figures: tuple[str, ...] = ()
    motes: str | None = None


def _palette(colours: str, dark: bool = False) -> Palette:
    high, middle, horizon, light, far, near, accent = colours.split()
    return Palette(
        high=high,
        middle=middle,
        horizon=horizon,
        light=light,
        far=far,
        near=near,
        accent=accent,
        dark=dark,
    )


PALETTES: Mapping[str, Palette] = {
    "dawn": _palette("#41548a #cf93a4 #fcd9ae #fff3d6 #8d83ad #1f2443 #f2785c"),
    "sunset": _palette("#2d2156 #bd4a6d #ffb461 #ffe9b0 #8a4470 #190f2c #ff7a3d"),
    "noon": _palette("#3f8ccc #97cbe8 #eef5ea #fffae0 #7dadb0 #1d4743 #f08a4b"),
    "night": _palette("#070c28 #162a60 #47699f #f6f1da #2c4679 #060b1e #f7c35f", dark=True),
    "gold": _palette("#80501a #dca038 #fbe5a8 #fff8dc #bb832f #2d1a07 #8c2f1b"),
    "green": _palette("#5b8d87 #a7c9a6 #eff1d2 #fffce4 #71a189 #10271f #e3a43a"),
    "autumn": _palette("#64798f #d9b58c #f9e5bd #fff4d4 #b97b4d #2b150e #d6451f"),
    "winter": _palette("#7495bd #b9d0e4 #f4f4f2 #ffffff #9bb4ce #22344e #c8483c"),
    "rose": _palette("#7767a6 #e39bb8 #ffe1d8 #fff6ee #b97ca4 #391d45 #ff5f7e"),
    "violet": _palette("#1d1148 #6b41a2 #e79dd0 #ffeaf5 #5d4194 #100929 #ffb347", dark=True),
    "neon": _palette("#0b0524 #43127a #ff3f98 #7df4ff #4d1f8a #080316 #1ff0e0", dark=True),
    "mono": _palette("#3c3c3f #909092 #e8e6e2 #fbfbf8 #7e7e80 #151517 #bab6ae"),
    "teal": _palette("#0e4053 #35949c #dbf0da #fffce8 #418e93 #07242e #ff8a5c"),
    "clay": _palette("#4c88a6 #e6b78f #fbe4c1 #fff5db #da8d5e #5a2519 #2f6f73"),
    "red": _palette("#3c0f1b #b62b33 #ffa474 #ffecd6 #8d2331 #1d070d #ffc24b"),
    "blue": _palette("#0f2c6a #4078c7 #d2e6f6 #ffffff #5283c0 #0b193a #ffb454"),
}

# Words on the left ask for what is on the right. Words that are not ASCII are looked for anywhere
# in the prompt, as their languages need not part words.
_SCENES = """
hills: mountain hill valley landscape meadow field alps peak countryside nature sky cloud volcano \
canyon fog mist cliff farm vineyard horse deer wolf fox dragon castle 山 草原 风景 田野 天空 云 雾
sea: sea ocean wave beach coast island boat ship sail lake river harbor harbour water whale fish \
surf underwater dolphin lighthouse bay pond 海 湖 河 江 船 浪 水 岛 鱼 帆
forest: forest tree wood woods jungle pine grove woodland rainforest bear owl deer 森林 树 林 竹
city: city town street building skyline tokyo paris london york shanghai downtown car architecture \
tower skyscraper cyberpunk urban office road bridge robot 城 街 楼 上海 东京 车 建筑 机器人
desert: desert dune sand sahara pyramid camel egypt oasis mars savanna lion 沙漠 沙 骆驼 金字塔
garden: flower rose plant leaf botanical garden bouquet tulip lotus sunflower orchid bloom fern \
cherry blossom vase fruit food coffee tea butterfly 花 叶 植物 樱 莲 茶 水果
shapes: abstract geometric logo pattern poster bauhaus shape icon circle cube minimal mosaic \
product sneaker shoe bottle chair phone watch 抽象 几何 图案 海报 产品 标志
portrait: portrait face woman man girl boy person model lady king queen princess people child \
selfie headshot character hero actor dancer 人 女 男 脸 肖像 孩
ribbons: music wind dream flow silk smoke dance emotion energy sound fluid hair motion 音乐 风 梦 流
space: space planet galaxy cosmos star universe nebula astronaut alien saturn orbit rocket comet \
sci-fi science 宇宙 星 太空 行星 银河
"""
# Times of the day and the year, and colours by name, before what a subject suggests.
_COLOURS = """
night: night midnight moonlight dark 夜 深夜
dawn: dawn sunrise morning 晨 日出
sunset: sunset dusk evening twilight 日落 夕阳 黄昏
noon: noon day summer sunny bright spring daylight 夏 白天 晴
autumn: autumn fall orange 秋 橙
winter: winter snow snowy ice icy white cold frozen 冬 雪 冰 白
gold: gold golden yellow amber 金 黄
green: green emerald 绿
rose: pink rose pastel 粉
violet: purple violet lavender 紫
neon: neon cyberpunk futuristic synthwave 霓虹 赛博 未来
mono: black monochrome noir charcoal pencil ink grey gray sketch 黑 灰 水墨
teal: teal turquoise cyan 青
clay: terracotta clay brown 棕
red: red crimson scarlet 红
blue: blue cobalt denim 蓝
"""
_MOODS = """
night: moon star owl lamp 月 星
dawn: sky cloud 云
sunset: beach island silhouette
noon: boat meadow balloon kite
gold: honey luxury wheat king queen lion
green: forest tree jungle leaf meadow plant nature bamboo 森林 树 竹
autumn: maple coffee bear fox pumpkin vintage 枫
winter: alps polar fog mist christmas 雾
rose: cherry blossom romantic love wedding princess 玫瑰 樱 爱
violet: magic dream galaxy nebula mystic fantasy 魔 梦
neon: robot hacker cyber club 机器人
teal: sea ocean wave whale underwater lake fish 海 湖
clay: desert dune sand canyon pyramid mars 沙
red: fire dragon blood lava volcano passion war 火 龙
blue: river water ship sail 河 水
"""
_FIGURES = """
cat: cat kitten 猫
birds: bird gull eagle crow swan dove freedom 鸟 鹰
boat: boat ship sail yacht harbor harbour 船 帆
balloon: balloon travel adventure flight 气球
house: house cottage cabin farm home village castle 房 屋 家
lone tree: tree oak lonely savanna 树
lighthouse: lighthouse 灯塔
pyramids: pyramid egypt 金字塔
"""
_MOTES = """
snow: snow winter snowy christmas 雪 冬
rain: rain storm rainy thunder 雨
petals: blossom petal cherry spring sakura romantic wedding confetti 樱 花瓣
sparks: firefly fireflies magic spark ember fire fantasy lantern fairy 萤 火 魔
"""


def _table(text: str) -> Mapping[str, tuple[str, ...]]:
    rows = (line.partition(": ") for line in text.strip().splitlines())
    return {name: tuple(words.split()) for name, _, words in rows}


_SCENE_WORDS = _table(_SCENES)
_COLOUR_WORDS, _MOOD_WORDS = _table(_COLOURS), _table(_MOODS)
_FIGURE_WORDS, _MOTE_WORDS = _table(_FIGURES), _table(_MOTES)
SCENES = tuple(_SCENE_WORDS)
# For prompts without a word that we know: what looks well in each scene.
_USUAL: Mapping[str, tuple[str, ...]] = {
    "hills": ("dawn", "sunset", "noon", "rose", "teal", "winter", "autumn"),
    "sea": ("sunset", "teal", "dawn", "blue", "night"),
    "forest": ("green", "autumn", "teal", "dawn", "winter"),
    "city": ("night", "sunset", "dawn", "violet", "teal"),
    "desert": ("clay", "sunset", "gold", "rose"),
    "garden": ("rose", "green", "clay", "noon", "autumn", "teal"),
    "shapes": ("clay", "noon", "teal", "red", "dawn", "autumn"),
    "portrait": ("clay", "teal", "rose", "sunset", "gold", "blue"),
    "ribbons": ("violet", "teal", "sunset", "rose", "dawn", "blue"),
    "space": ("night", "violet", "teal", "sunset"),
}


def generator(*parts: object) -> np.random.Generator:
    """A source of chance that depends on `parts` alone."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def imagine(prompt: str, negative: str | None, chance: np.random.Generator) -> Idea:
    """What to draw for `prompt`. A known word decides; otherwise the prompt as a whole does."""
    asked = _asked(prompt, negative)
    fallback = generator("idea", prompt) if prompt.strip() else chance
    scenes = _ranked(_SCENE_WORDS, asked)
    figures = _ranked(_FIGURE_WORDS, asked)
    usual = "hills" if figures else str(fallback.choice(SCENES))  # figures need ground
    scene = scenes[0] if scenes else usual
    colours = _ranked(_COLOUR_WORDS, asked) or _ranked(_MOOD_WORDS, asked)
    motes = _ranked(_MOTE_WORDS, asked)
    return Idea(
        scene=scene,
        palette=colours[0] if colours else str(chance.choice(_USUAL[scene])),
        figures=tuple(figures),
        motes=motes[0] if motes else None,
    )


def colour(text: str) -> Colour:
    """The colour that `#rrggbb` names."""
    return np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)], dtype=np.float32)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """The colour between the two, `share` of the way to the other."""
    return (one + (other - one) * np.float32(share)).astype(np.float32)


def _asked(prompt: str, negative: str | None) -> str:
    """The prompt as it is looked through: words between blanks, without what is unwanted."""
    unwanted = set(_words(negative or ""))
    words = [word for word in _words(prompt) if word not in unwanted]
    return f" {' '.join(words)} "


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z-]+|[^\x00-\x7f]+", text.lower())


def _ranked(table: Mapping[str, Iterable[str]], asked: str) -> list[str]:
    """The names in `table` that `asked` has words for, those with the most (then first) first."""
    found: list[tuple[int, int, str]] = []
    for name, words in table.items():
        places = [at for at in map(lambda word: _place(asked, word), words) if at >= 0]
        if places:
            found.append((-len(places), min(places), name))
    return [name for _, _, name in sorted(found)]


def _place(asked: str, word: str) -> int:
    """Where `word`, or its plural, stands in `asked`; -1 where it does not."""
    if not word.isascii():
        return asked.find(word)
    return max(asked.find(f" {word} "), asked.find(f" {word}s "), asked.find(f" {word}es "))
