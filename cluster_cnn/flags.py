"""Quality flags of candidates: one bit a doubt; `FLAG_MEANINGS` says what each means."""

from __future__ import annotations

from enum import IntFlag


class CandidateFlag(IntFlag):
    """Bits of the column ``flags`` of `cluster_cnn.predict`."""

    NOT_FINITE = 1
    OFF_IMAGE = 2
    EDGE = 4
    BAD_PIXELS = 8
    MISSING_BAND = 16
    DUPLICATE = 32
    OUT_OF_RANGE = 64
    AT_LIMIT = 128
    NO_RESULT = 256
    BAND_ORDER = 512
    WIDE_PARTIAL = 1024


FLAG_MEANINGS: dict[CandidateFlag, str] = {
    CandidateFlag.NOT_FINITE: "the position is missing or not a number",
    CandidateFlag.OFF_IMAGE: "the position lies on no image that was given",
    CandidateFlag.EDGE: "the stamp reaches beyond the edge of the image",
    CandidateFlag.BAD_PIXELS: "the stamp holds pixels without data: a gap, or not finite",
    CandidateFlag.MISSING_BAND: "a band has no data in the stamp; its light counts as none",
    CandidateFlag.DUPLICATE: "an earlier row has the same position",
    CandidateFlag.OUT_OF_RANGE: "the stamp, or what was told of it, does not fit what was taught",
    CandidateFlag.AT_LIMIT: "a result lies at the end of the range of the training set",
    CandidateFlag.NO_RESULT: "nothing could be measured; the results are NaN",
    CandidateFlag.WIDE_PARTIAL: "the wide view reaches beyond the image, or holds gaps",
    CandidateFlag.BAND_ORDER: "the bands look exchanged: files given in the wrong order",
}
