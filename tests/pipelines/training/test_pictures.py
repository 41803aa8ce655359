"""Pictures are read back as images; what they show is counted."""

import io

import matplotlib.image
import numpy as np

from pipelines.training import pictures
from tagger.calibration import Reliability


def trained(losses, validation, n_steps=50):
    """The record of a network, whose last epoch was its best."""
    history = [
        {"epoch": i, "train_loss": loss, "validation_loss": validation and validation[i - 1]}
        for i, loss in enumerate(losses, 1)
    ]
    record = {"history": history, "best_epoch": len(history)}
    return record | ({"n_steps": n_steps} if n_steps else {})


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png))[..., :3]


def has_colour(image, colour):
    return bool((np.abs(image - np.array(colour)).max(-1) < 0.02).any())


BLUE, ORANGE = (0x1F / 255, 0x77 / 255, 0xB4 / 255), (1.0, 0x7F / 255, 0x0E / 255)


def test_validation_is_drawn_where_it_was_measured():
    with_both = pixels(pictures.curves({"heads": [trained([2.0, 1.0], [2.0, 1.5])]}))
    assert has_colour(with_both, BLUE)
    assert has_colour(with_both, ORANGE)
    assert not has_colour(pixels(pictures.curves({"heads": [trained([2.0, 1.0], None)]})), ORANGE)


def test_empty_panels_are_not_drawn():
    record = trained([2.0, 1.0], None)
    four = pixels(pictures.curves({name: [record] for name in "abcd"}))
    height, width, _ = four.shape
    assert (four[height // 2 :, width // 3 + 10 :] == 1.0).all()  # one panel below three


def drawn(monkeypatch, kinds):
    """The one panel of a picture."""
    figures = []
    monkeypatch.setattr(pictures, "_png", lambda figure: figures.append(figure) or b"")
    pictures.curves(kinds)
    (axes,) = figures[0].axes
    return axes


def test_a_panel_says_what_it_shows(monkeypatch):
    """Against steps, 25 to an epoch here; each line once in the legend; a dot at what was kept."""
    twice = [trained([2.0, 1.0], [2.0, 1.5])] * 2
    axes = drawn(monkeypatch, {"heads": twice})
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss")
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["training", "validation", "kept"]
    assert axes.lines[0].get_xdata().tolist() == [25, 50]
    assert (axes.lines[2].get_xdata().tolist(), axes.lines[2].get_ydata().tolist()) == ([50], [1.5])


def test_networks_of_earlier_versions_are_drawn_against_epochs(monkeypatch):
    axes = drawn(monkeypatch, {"heads": [trained([2.0, 1.0], None, n_steps=0)]})
    assert axes.get_xlabel() == "epoch"
    assert axes.lines[0].get_xdata().tolist() == [1, 2]


def test_nothing_trained_gives_an_empty_picture():
    assert (pixels(pictures.curves({})) == 1.0).all()


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
