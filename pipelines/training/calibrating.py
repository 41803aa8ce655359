"""The temperature and the thresholds of an ensemble, from clips that it was not trained on.

These are the validation clips of its members, each scored by the members that it validates. Members
without validation clips, of a fold or of all clips, have those of a cross-validation: where several
folds are evaluated, each clip is scored by the members that leave out its fold. Test clips of any
other kind stay untouched.

What the report says of a calibration is measured on test clips, and so that it does not flatter:
for each test the calibration is fitted anew, on those clips alone that the test does not have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipelines.training.scores import Member, Scored, Scores, score_validation
from pipelines.training.splits import TEST
from pipelines.training.workfolder.patches import Prepared
from tagger import calibration, label_metrics, thresholds
from tagger.arrays import IndexArray
from tagger.calibration import Calibration, Reliability
from tagger.dataset import Dataset
from tagger.ensemble import at_temperature
from tagger.errors import OptionError
from tagger.label_metrics import Truth
from tagger.labels import Labelling

WANTED: Final = "validation clips, or members of several folds that were trained alike"
"""What a calibration needs."""


@dataclass(frozen=True)
class HeldOut:
    """Clips whose scores are by members that were not trained on them.

    Attributes
    ----------
    clips : (n,) rows of ``Dataset.clips``; a clip may be there more than once
    scores : (n, K) of the ensemble, as it is
    truth : (n, K)
    which : the clips in words, for the card
    """

    clips: IndexArray
    scores: Scores
    truth: Truth
    which: str

    def without(self, clips: IndexArray) -> "HeldOut":
        """All but these clips."""
        kept = ~np.isin(self.clips, clips)
        return HeldOut(self.clips[kept], self.scores[kept], self.truth[kept], self.which)

    def calibration(self, labelling: Labelling, precision: float | None) -> Calibration:
        """Fit the temperature, then tune thresholds for F1, or for a precision."""
        fitted = calibration.fit_temperature(self.scores, self.truth, labelling)
        temperature = round(fitted, 4)
        scores = at_temperature(self.scores, temperature, labelling)
        tuned = (
            thresholds.for_f1(scores, self.truth)
            if precision is None
            else thresholds.for_precision(scores, self.truth, precision)
        )
        return Calibration(temperature, tuned, precision)


@dataclass(frozen=True)
class Measured:
    """What a calibration does to the test clips.

    Attributes
    ----------
    figures : as JSON
    before, after : reliability of their scores
    """

    figures: dict[str, Any]
    before: Reliability
    after: Reliability


@dataclass(frozen=True)
class Calibrated:
    """A calibration, the clips that it was fitted on, and what it does to test clips, if any."""

    calibration: Calibration
    held: HeldOut
    measured: Measured | None

    def about(self, labels: Sequence[str]) -> dict[str, Any]:
        """What the card and the report tell of it, as JSON."""
        unreached = self.calibration.never
        return {
            "clips": self.held.which,
            "n_clips": len(self.held.clips),
            "temperature": self.calibration.temperature,
            "aim": self.calibration.aim,
            "never_tagged": [labels[k] for k in unreached],
            **(self.measured.figures if self.measured else {}),
        }


def calibrate(
    prepared: Prepared,
    published: Sequence[Member],
    scored: Sequence[Scored],
    precision: float | None,
) -> Calibrated | None:
    """Calibrate members; None where no clips are held out for that.

    Parameters
    ----------
    published : the members whose scores are calibrated
    scored : the tests of all members that are evaluated
    precision : that tags shall have; None: the best F1

    Raises
    ------
    OptionError : a precision is asked for, and no clips are held out
    """
    held = held_out(prepared, published, scored)
    if held is None:
        if precision is not None:
            raise OptionError("precision", f"needs {WANTED}")
        return None
    found = held.calibration(prepared.dataset.labelling, precision)
    return Calibrated(found, held, measured(held, prepared.dataset, scored, precision))


def held_out(
    prepared: Prepared, published: Sequence[Member], scored: Sequence[Scored]
) -> HeldOut | None:
    """The clips to calibrate members on; None: there are none.

    Parameters
    ----------
    published : the members whose scores are calibrated
    scored : the tests of all members that are evaluated
    """
    if validated := score_validation(prepared, published):
        which = "validation clips, each scored by the members that were not trained on it"
        return _pooled(prepared.dataset, validated, which)
    folds = [test for test in scored if test.test_name != TEST]
    if len(folds) < 2:
        return None
    names = ", ".join(test.test_name for test in folds)
    which = f"clips of {names}, each scored by members that were trained on the other folds"
    return _pooled(prepared.dataset, folds, which)


def measured(
    held: HeldOut, dataset: Dataset, scored: Sequence[Scored], precision: float | None
) -> Measured | None:
    """What calibration does to test clips, each test's fitted without the test's own clips.

    None where that leaves no clips to fit on, or no test clips.
    """
    labelling = dataset.labelling
    before, after, tags, truth = [], [], [], []
    for test in scored:
        others, own = held.without(test.clips), _pooled(dataset, [test], "")
        if not len(others.clips) or not len(own.clips):
            continue
        fitted = others.calibration(labelling, precision)
        before.append(own.scores)
        after.append(at_temperature(own.scores, fitted.temperature, labelling))
        tags.append(after[-1] >= fitted.least_scores)
        truth.append(own.truth)
    if not truth:
        return None
    right = np.concatenate(truth)
    as_it_is, calibrated = (
        calibration.reliability(np.concatenate(scores), right, labelling)
        for scores in (before, after)
    )
    given = np.concatenate(tags)
    figures = {
        "ece_before": round(as_it_is.error, 4),
        "ece_after": round(calibrated.error, 4),
        "micro_f1": round(label_metrics.micro_f1(given, right), 4),
        "macro_f1": round(label_metrics.macro_f1(given, right), 4),
        "precision": round(float((given & right).sum() / max(1, given.sum())), 4),
        "recall": round(float((given & right).sum() / max(1, right.sum())), 4),
    }
    return Measured(figures, as_it_is, calibrated)


def _pooled(dataset: Dataset, scored: Sequence[Scored], which: str) -> HeldOut:
    """The clips of all tests that a member could score."""
    clips = np.concatenate([test.clips for test in scored])
    scores = np.concatenate([test.ensemble for test in scored])
    answered = scores.any(1)
    truth = dataset.label_sets()[clips]
    return HeldOut(clips[answered], scores[answered], truth[answered], which)
