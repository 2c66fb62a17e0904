"""The overlay picture: the sky in colour, with the outline of every mask.

Outlines are thin, half a pixel outside the mask, and coloured by class. Around the picture stand
its name, its bands and the number of sources; in it a scale bar and the directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from astro_io.atomic import atomic_path
from astro_io.image import SkyImage
from astro_io.normalize import BandStatistics
from astro_rcnn.detections import Detections
from astro_rcnn.sky_picture import channel_bands, picture_scale, render_sky

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

CLASS_COLOURS = {"star": "#56c4f0", "galaxy": "#f5a623"}
"""Blue and orange: apart for every kind of colour vision (after Okabe & Ito 2008)."""

OTHER_COLOUR = "#e377c2"
DPI = 100.0
BACKDROP, INK, FAINT_INK = "#15171b", "#e8e6e3", "#9aa0a6"


@dataclass(frozen=True, kw_only=True)
class OverlayStyle:
    """What to write beside the outlines.

    Attributes
    ----------
    has_ids, has_scores : bool
        Number, and confidence, beside each source.
    line_width_px : float
        Of the outlines, in pixels of the picture.
    """

    has_ids: bool = False
    has_scores: bool = False
    line_width_px: float = 1.25


def draw_overlay(
    path: str | Path,
    image: SkyImage,
    detections: Detections,
    *,
    statistics: BandStatistics | None = None,
    style: OverlayStyle | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the overlay of one image as PNG.

    Parameters
    ----------
    path : str or Path
        By custom ``NAME.overlay.png``.
    image : SkyImage
        Any number of bands: one is shown in grey, of more the reddest is red.
    detections : Detections
        In the image; may be empty.
    statistics : BandStatistics, optional
        Robust sky level and noise of each band; measured where not given.
    style : OverlayStyle, optional
    title : str, optional
        By default the name of the image.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file. North and east arrows are drawn where the image has a WCS, as is a scale bar
        in arcsec; row 0 of the image is at the bottom.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is False.
    """
    style = style or OverlayStyle()
    picture = _magnified(render_sky(image, statistics=statistics), picture_scale(image.shape)[1])
    figure, axes = _transparent_figure(picture.shape, image.shape)
    _draw_outlines(axes, detections, style)
    if style.has_ids or style.has_scores:
        _draw_labels(axes, detections, style)
    _draw_scale_bar(axes, image)
    _draw_compass(axes, image)
    _write_caption(figure, image, detections, title or image.name)
    with atomic_path(path, overwrite=overwrite) as part:
        _compose(picture, figure).save(part, format="PNG", compress_level=3)
    return Path(path)


def mask_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return smooth closed lines around the pieces of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        May be all False.

    Returns
    -------
    list of ndarray of float64, shape (n, 2)
        x, y with pixel centres at integers, 0-based in the mask.
    """
    from skimage.measure import find_contours

    padded = np.pad(mask, 3).astype(np.float32)
    smooth = ndimage.gaussian_filter(padded, 0.8)
    lines = find_contours(smooth, 0.45) or find_contours(padded, 0.5)
    return [line[:, ::-1] - 3.0 for line in lines]


def _magnified(picture: np.ndarray, factor: int) -> np.ndarray:
    """Return a picture of bytes enlarged by a whole factor, smoothly."""
    from PIL import Image

    if factor == 1:
        return picture
    size = (picture.shape[1] * factor, picture.shape[0] * factor)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _transparent_figure(
    picture_shape: tuple[int, ...], image_shape: tuple[int, int]
) -> tuple[Figure, Axes]:
    """Return an empty figure with room for the picture between two strips for the captions.

    The axes lie where the picture will and count in pixels of the image.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = picture_shape[:2]
    strip = _strip_px(width)
    total = height + 2 * strip
    figure = Figure(figsize=(width / DPI, total / DPI), dpi=DPI, facecolor="none")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, strip / total, 1.0, height / total))
    axes.set_axis_off()
    axes.set_xlim(-0.5, image_shape[1] - 0.5)
    axes.set_ylim(-0.5, image_shape[0] - 0.5)
    axes.set_autoscale_on(False)
    return figure, axes


def _compose(picture: np.ndarray, figure: Figure) -> Image.Image:
    """Lay the lines and words of a figure over the picture, whose row 0 is at the bottom.

    Done in bytes: matplotlib would pass the picture through floats, 1.5 GB for a survey brick.
    """
    from PIL import Image

    figure.canvas.draw()
    drawing = Image.fromarray(np.asarray(figure.canvas.buffer_rgba()))
    whole = Image.new("RGB", drawing.size, BACKDROP)
    whole.paste(Image.fromarray(picture[::-1]), (0, _strip_px(picture.shape[1])))
    whole.paste(drawing, mask=drawing)
    return whole


def _strip_px(width: int) -> int:
    """Return the height of a caption strip for a picture of this width."""
    return round(20 + 0.02 * width)


def _text_size(width: int) -> float:
    """Return the font size in points (1/72 inch at `DPI`) that suits a caption strip."""
    return 0.42 * _strip_px(width) * 72 / DPI


def _draw_outlines(axes: Axes, detections: Detections, style: OverlayStyle) -> None:
    from matplotlib.collections import LineCollection

    width_points = style.line_width_px * 72 / DPI
    lines: dict[str, list[np.ndarray]] = {}
    for box, mask, class_id in zip(
        detections.mask_boxes, detections.masks, detections.class_ids, strict=True
    ):
        colour = _colour(detections.class_names[class_id])
        corner = np.array([box[1], box[0]], float)
        lines.setdefault(colour, []).extend(line + corner for line in mask_outlines(mask))
    for colour, segments in lines.items():
        axes.add_collection(
            LineCollection(segments, colors=colour, linewidths=width_points, alpha=0.95),
            autolim=False,
        )


def _draw_labels(axes: Axes, detections: Detections, style: OverlayStyle) -> None:
    for i, (y1, _, y2, x2) in enumerate(detections.boxes):
        words = [str(i + 1)] if style.has_ids else []
        words += [f"{detections.scores[i]:.2f}"] if style.has_scores else []
        axes.text(
            x2 + 0.5,
            (y1 + y2 - 1) / 2,
            " ".join(words),
            color=_colour(detections.class_names[detections.class_ids[i]]),
            fontsize=6,
            va="center",
            clip_on=True,
            path_effects=_shadow(),
        )


def _draw_scale_bar(axes: Axes, image: SkyImage) -> None:
    """Draw a bar of a round number of arcsec, or of pixels without a WCS, about a tenth wide."""
    width = image.shape[1]
    scale = image.pixel_scale_arcsec
    length = _round_number(width / 8 * (scale or 1.0))
    text = _angle_text(length) if scale else f"{length:g} px"
    x, y = 0.03 * width, 0.03 * width
    pixels = length / (scale or 1.0)
    style: dict[str, Any] = {"color": INK, "path_effects": _shadow()}
    axes.plot([x, x + pixels], [y, y], linewidth=1.8, solid_capstyle="butt", **style)
    size = 0.9 * _text_size(int(axes.bbox.width))
    axes.text(
        x + pixels / 2, y + 0.008 * width, text, ha="center", va="bottom", fontsize=size, **style
    )


def _draw_compass(axes: Axes, image: SkyImage) -> None:
    """Draw arrows to the north and east in the lower right corner, where there is a WCS."""
    directions = _compass(image)
    if directions is None:
        return
    width = image.shape[1]
    length = 0.05 * width
    tips = np.array(list(directions.values())) * length * 1.45
    # Keep arrows and letters inside the picture, whichever way they point.
    x = 0.965 * width - max(0.0, tips[:, 0].max())
    y = 0.035 * width - min(0.0, tips[:, 1].min())
    size = 0.9 * _text_size(int(axes.bbox.width))
    for letter, (dx, dy) in directions.items():
        axes.annotate(
            "",
            xy=(x + dx * length, y + dy * length),
            xytext=(x, y),
            arrowprops={
                "arrowstyle": "-|>,head_width=0.18,head_length=0.4",
                "color": INK,
                "linewidth": 1.3,
                "shrinkA": 0,
                "shrinkB": 0,
                "path_effects": _shadow(),
            },
        )
        axes.text(
            x + 1.3 * dx * length,
            y + 1.3 * dy * length,
            letter,
            ha="center",
            va="center",
            color=INK,
            fontsize=size,
            path_effects=_shadow(),
        )


def _compass(image: SkyImage) -> Mapping[str, tuple[float, float]] | None:
    """Return unit vectors (x, y) to the north and the east at the centre of the image."""
    if image.wcs is None:
        return None
    from astropy import units as u

    wcs = image.wcs.celestial
    y, x = (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2
    centre = wcs.pixel_to_world(x, y).icrs
    step = (image.pixel_scale_arcsec or 1.0) * u.arcsec
    found = {}
    for letter, angle in (("N", 0 * u.deg), ("E", 90 * u.deg)):
        tip = np.array(wcs.world_to_pixel(centre.directional_offset_by(angle, step)), float)
        vector = tip - (x, y)
        norm = float(np.hypot(*vector))
        if not np.isfinite(norm) or norm == 0:
            return None
        found[letter] = (float(vector[0] / norm), float(vector[1] / norm))
    return found


def _write_caption(figure: Figure, image: SkyImage, detections: Detections, title: str) -> None:
    """Write the title and the bands above, the number of sources of each class below."""
    width = round(figure.bbox.width)
    strip = _strip_px(width) / figure.bbox.height
    size, margin = _text_size(width), 0.012
    words: dict[str, Any] = {"fontsize": size, "va": "center"}
    bands = _bands_text(image.bands)
    room = width * (1 - 2 * margin) - 0.6 * len(bands) * size * DPI / 72
    title = _shorten(title, max(8, int(room / (0.6 * size * DPI / 72))))
    figure.text(margin, 1 - strip / 2, title, color=INK, **words)
    figure.text(1 - margin, 1 - strip / 2, bands, color=FAINT_INK, ha="right", **words)
    position = margin
    for class_id, name in enumerate(detections.class_names[1:], start=1):
        count = int(np.count_nonzero(detections.class_ids == class_id))
        text = figure.text(
            position,
            strip / 2,
            f"{count} {_plural(name, count)}",
            color=_colour(name),
            **words,
        )
        box = text.get_window_extent(figure.canvas.get_renderer())
        position = box.x1 / width + 2 * margin
    scale = image.pixel_scale_arcsec
    size_text = f"{image.shape[1]} × {image.shape[0]} px"
    size_text += "" if scale is None else f", {scale:.3g}″/px"
    figure.text(1 - margin, strip / 2, size_text, color=FAINT_INK, ha="right", **words)


def _bands_text(bands: Sequence[str]) -> str:
    """Return which bands the colours stand for, for example ``RGB = z, r, g``."""
    if len(bands) == 1:
        return bands[0]
    return "RGB = " + ", ".join("+".join(bands[i] for i in part) for part in channel_bands(bands))


def _plural(name: str, count: int) -> str:
    if count == 1:
        return name
    return name[:-1] + "ies" if name.endswith("y") else name + "s"


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _round_number(value: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, 30, 60 ... that is not above `value`."""
    steps = [m * 10.0**e for e in range(-3, 2) for m in (1, 2, 5)]
    steps += [30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0]
    return max((step for step in steps if step <= value and step != 50.0), default=value)


def _angle_text(arcsec: float) -> str:
    if arcsec >= 3600:
        return f"{arcsec / 3600:g}°"
    return f"{arcsec / 60:g}′" if arcsec >= 60 else f"{arcsec:g}″"


def _colour(name: str) -> str:
    return CLASS_COLOURS.get(name, OTHER_COLOUR)


def _shadow() -> list[Any]:
    """Return a dark rim that keeps light ink readable on bright sky."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.4, foreground="#000000a0")]
