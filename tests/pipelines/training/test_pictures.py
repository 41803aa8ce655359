"""Pictures are read back as images; what they show is counted."""

import io

import matplotlib.image
import numpy as np

from pipelines.training import pictures
from tagger.calibration import Reliability


def epochs(losses, validation):
    return [
        {"epoch": i, "train_loss": loss, "validation_loss": validation and validation[i - 1]}
        for i, loss in enumerate(losses, 1)
    ]


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png))[..., :3]


def has_colour(image, colour):
    return bool((np.abs(image - np.array(colour)).max(-1) < 0.02).any())


BLUE, ORANGE = (0x1F / 255, 0x77 / 255, 0xB4 / 255), (1.0, 0x7F / 255, 0x0E / 255)


def test_validation_is_drawn_where_it_was_measured():
    with_both = pixels(pictures.curves({"heads": [epochs([2.0, 1.0], [2.0, 1.5])]}))
    assert has_colour(with_both, BLUE)
    assert has_colour(with_both, ORANGE)
    assert not has_colour(pixels(pictures.curves({"heads": [epochs([2.0, 1.0], None)]})), ORANGE)


def test_empty_panels_are_not_drawn():
    history = epochs([2.0, 1.0], None)
    four = pixels(pictures.curves({name: [history] for name in "abcd"}))
    height, width, _ = four.shape
    assert (four[height // 2 :, width // 3 + 10 :] == 1.0).all()  # one panel below three


def test_a_reliability_diagram_shows_shares_before_and_after():
    """Bars of the share of right decisions: all right in the right panel, none in the left."""
    n = np.full(15, 3)
    scores = (np.arange(15) + 0.5) / 15
    wrong, right = (Reliability(n, scores, np.full(15, share)) for share in (0.0, 1.0))
    image = pixels(pictures.reliability(wrong, right))
    bar = np.abs(image - (np.array(BLUE) + 1) / 2).max(-1) < 0.02  # half transparent
    left, right_panel = np.split(bar[:, : bar.shape[1] // 2 * 2], 2, axis=1)
    assert right_panel.sum() > 20 * max(1, left.sum())
    assert has_colour(image, (0xD6 / 255, 0x27 / 255, 0x28 / 255))  # mean scores


def test_a_confusion_matrix_grows_with_its_classes():
    small, large = (
        pixels(pictures.confusion(np.eye(n, dtype=np.int64) * 3, [f"c{i}" for i in range(n)])).shape
        for n in (3, 41)
    )
    assert large[0] > 3 * small[0]
