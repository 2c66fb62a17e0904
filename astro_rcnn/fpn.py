"""Feature pyramid: Lin et al. 2017, with the layer names of the matterport weights."""

from __future__ import annotations

from keras import layers


def feature_pyramid(
    features: dict[int, object], *, width: int, levels: tuple[int, ...]
) -> list[object]:
    """Join the trunk's levels from the coarse end to the fine one.

    Parameters
    ----------
    features : dict of int to KerasTensor
        Trunk level to features (N, H / 2**level, W / 2**level, C_level).
    width : int
        Channels of every pyramid level.
    levels : tuple of int
        Levels wanted, ascending. Those above the trunk's last are stride-2 sub-samplings of it.

    Returns
    -------
    list of KerasTensor
        One (N, H / 2**level, W / 2**level, width) for each of `levels`.
    """
    top = max(features)
    merged = {top: layers.Conv2D(width, 1, name=f"fpn_c{top}p{top}")(features[top])}
    for level in range(top - 1, levels[0] - 1, -1):
        coarse = layers.UpSampling2D(2, name=f"fpn_p{level + 1}upsampled")(merged[level + 1])
        lateral = layers.Conv2D(width, 1, name=f"fpn_c{level}p{level}")(features[level])
        merged[level] = layers.Add(name=f"fpn_p{level}add")([coarse, lateral])
    pyramid = {
        level: layers.Conv2D(width, 3, padding="same", name=f"fpn_p{level}")(merged[level])
        for level in levels
        if level <= top
    }
    for level in range(top + 1, levels[-1] + 1):
        pyramid[level] = layers.MaxPooling2D(1, strides=2, name=f"fpn_p{level}")(pyramid[level - 1])
    return [pyramid[level] for level in levels]
