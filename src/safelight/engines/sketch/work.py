"""The whole work of one `sketch` task, as its child process does it: from a job to its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageChops

from safelight.engines import Event, Failed, File, Job, Log, Progress
from safelight.engines.sketch import film, scenes, sources
from safelight.engines.sketch.layers import Chance, Size, compose, fused, grain, vignette
from safelight.engines.sketch.limits import (
    DEFAULT_FPS,
    FORMS,
    MAX_FILM_PIXELS,
    MAX_SIDE,
    MIN_SIDE,
    QUALITIES,
    film_pixels,
    frame_count,
)
from safelight.engines.sketch.palettes import PALETTES, Idea, generator, imagine
from safelight.errors import InvalidValue
from safelight.sizes import pixels
from safelight.task import FailureCode, Kind, Record, Role


class Plan(Record, frozen=True, kw_only=True):
    """What the job comes to, its sources measured: paths of pictures by what they are for."""

    size: Size
    images: tuple[Path, ...] = ()
    first: Path | None = None
    last: Path | None = None
    mask: Path | None = None

    @property
    def pictures(self) -> tuple[Path, ...]:
        """Every source but the mask, in the order in which a film shows them."""
        ends = ((self.first,) if self.first else ()), ((self.last,) if self.last else ())
        return (*ends[0], *self.images, *ends[1])


def draw(job: Job) -> Iterator[Event]:
    """Make what the job asks for in its folder."""
    plan = _plan(job)
    make = _film if job.submit.kind is Kind.VIDEO else _picture
    for index in range(job.submit.count):
        yield from make(job, plan, index)


# --- the plan


def _plan(job: Job) -> Plan:
    paths: dict[Role, list[Path]] = {role: [] for role in Role}
    for source in job.sources:
        paths[source.role].append(source.path)
    pictures = [*paths[Role.IMAGE], *paths[Role.FIRST_FRAME], *paths[Role.LAST_FRAME]]
    measures = [sources.measure(path, job.max_pixels) for path in pictures]
    return Plan(
        size=_size(job, measures[0] if measures else None),
        images=tuple(paths[Role.IMAGE]),
        first=_only(paths[Role.FIRST_FRAME]),
        last=_only(paths[Role.LAST_FRAME]),
        mask=_only(paths[Role.MASK]),
    )


def _only(paths: Sequence[Path]) -> Path | None:
    return paths[0] if paths else None


def _size(job: Job, source: Size | None) -> Size:
    """The size to make. It may follow from a source, and so could not be checked before."""
    try:
        size = pixels(job.submit, source)
    except InvalidValue as error:
        raise Failed(FailureCode.INVALID_INPUT, error.message) from None
    if min(size) < MIN_SIDE or max(size) > MAX_SIDE or size[0] * size[1] > job.max_pixels:
        text = f"The picture would be {size[0]}x{size[1]} pixels, which cannot be drawn here."
        raise Failed(FailureCode.INVALID_INPUT, text)
    if job.submit.kind is Kind.VIDEO and film_pixels(job.submit, size) > MAX_FILM_PIXELS:
        text = f"A film of {size[0]}x{size[1]} pixels and that length is too much to be drawn here."
        raise Failed(FailureCode.INVALID_INPUT, text)
    return size


# --- pictures


def _picture(job: Job, plan: Plan, index: int) -> Iterator[Event]:
    count = job.submit.count
    chance = generator(job.task.seed or 0, job.submit.prompt, index)
    idea = imagine(job.submit.prompt, job.submit.negative, chance)
    picture = _scene(idea, plan.size, chance)
    yield Progress(percent=(index * 100 + 50) // count)
    if plan.pictures:
        picture = _from_sources(job, plan, idea, picture, chance)
    yield _save(job, picture, index)
    yield Progress(percent=min(99, (index + 1) * 100 // count))


def _scene(idea: Idea, size: Size, chance: Chance) -> Image.Image:
    picture = compose(scenes.stage(idea, size, chance), size)
    return grain(ImageChops.multiply(picture, vignette(size, 0.3)), chance, 2.0)


def _from_sources(
    job: Job, plan: Plan, idea: Idea, scene: Image.Image, chance: Chance
) -> Image.Image:
    given = [sources.read(path, job.max_pixels) for path in plan.pictures]
    if plan.mask:
        mask = sources.read(plan.mask, job.max_pixels, "RGBA")
        kept = sources.cover(given[0], plan.size)
        return Image.composite(scene, kept, sources.opening(mask, plan.size))
    whole = sources.together(given, plan.size, chance)
    painted = sources.painting(whole, PALETTES[idea.palette], chance)
    return sources.dream(painted, scene, chance)


def _save(job: Job, picture: Image.Image, index: int) -> File:
    form = FORMS[(job.submit.format or "png").lower()]
    path = job.folder / f"{index + 1:02d}.{form.ending}"
    options = dict(form.options)
    if form.lossy:
        options["quality"] = QUALITIES.get(job.submit.quality, 90)
    picture.save(path, form.pillow, **options)
    width, height = picture.size
    return File(path=path, media_type=form.media_type, width=width, height=height)


# --- films


def _film(job: Job, plan: Plan, index: int) -> Iterator[Event]:
    submit = job.submit
    fps = submit.fps or DEFAULT_FPS
    total = frame_count(submit.duration, submit.fps)
    chance = generator(job.task.seed or 0, submit.prompt, index)
    idea = imagine(submit.prompt, submit.negative, chance)
    frames = _frames(job, plan, idea, total, fps, chance)
    sound = film.ambience(total / fps, chance) if submit.audio else None
    path = job.folder / f"{index + 1:02d}.mp4"
    for done in film.write(path, plan.size, fps, frames, sound):
        if done % max(1, total // 20) == 0:
            share = (index + done / total) / submit.count
            yield Progress(percent=min(99, int(share * 100)))
    if sound is not None:
        yield Log(text="The sound is a generated chord, not a recording.")
    width, height = plan.size
    duration = total / fps
    yield File(path=path, media_type="video/mp4", width=width, height=height, duration=duration)


def _frames(
    job: Job, plan: Plan, idea: Idea, total: int, fps: int, chance: Chance
) -> Iterator[Image.Image]:
    """The frames of the film, the first and the last exactly as their sources."""
    given = [sources.cover(sources.read(path, job.max_pixels), plan.size) for path in plan.pictures]
    shares = [at / (total - 1) if total > 1 else 0.0 for at in range(total)]
    if not given or (plan.last and len(given) == 1):
        flight = _flight(idea, plan.size, shares, fps, chance)
        return _ending_at(given[0], flight, shares) if given else flight
    if len(given) == 1:
        painted = sources.painting(given[0], PALETTES[idea.palette], chance)
        return _approach(given[0], painted, shares)
    return _passage(given, shares)


def _flight(
    idea: Idea, size: Size, shares: Sequence[float], fps: int, chance: Chance
) -> Iterator[Image.Image]:
    """The camera goes along the scene, past what is near faster than past what is far."""
    room = (round(size[0] * 0.2), round(size[1] * 0.04))
    stage = scenes.stage(idea, (size[0] + room[0], size[1] + room[1]), chance)
    shown = replace(fused(stage), shade=vignette(size, 0.3))
    backwards = chance.random() < 0.5
    for at, share in enumerate(shares):
        way = 1 - share if backwards else share
        yield compose(shown, size, (way * room[0], room[1] / 2), at / fps)


def _ending_at(
    last: Image.Image, frames: Iterator[Image.Image], shares: Sequence[float]
) -> Iterator[Image.Image]:
    for share, frame in zip(shares, frames, strict=True):
        yield Image.blend(frame, last, _eased((share - 0.55) / 0.45))


def _approach(
    first: Image.Image, painted: Image.Image, shares: Sequence[float]
) -> Iterator[Image.Image]:
    """The camera goes towards the picture, while it turns into a painting."""
    for share in shares:
        picture = Image.blend(first, painted, 0.85 * _eased(share / 0.8))
        yield _closer(picture, 1 + 0.14 * _eased(share))


def _passage(pictures: Sequence[Image.Image], shares: Sequence[float]) -> Iterator[Image.Image]:
    """From picture to picture; each is seen whole, and as it is, at its own moment."""
    last = len(pictures) - 1
    for share in shares:
        place = share * last
        before = min(int(place), last - 1)
        away = place - before
        one = _closer(pictures[before], 1 + 0.09 * _eased(away))
        other = _closer(pictures[before + 1], 1 + 0.09 * _eased(1 - away))
        yield Image.blend(one, other, _eased((away - 0.25) / 0.5))


def _closer(image: Image.Image, zoom: float) -> Image.Image:
    if zoom <= 1:
        return image
    width, height = image.size
    across, down = width * (1 - 1 / zoom) / 2, height * (1 - 1 / zoom) / 2
    box = (across, down, width - across, height - down)
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)


def _eased(share: float) -> float:
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)
