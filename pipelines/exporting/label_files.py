"""The formats of label files: the events of one recording as text.

Times are seconds in the recording. What a format has no room for is left out: scores are in the
text of the label where there is no column for them.

Sources: the Audacity manual ("Importing and Exporting Labels"), Raven's selection tables, the W3C's
WebVTT, Praat's manual ("TextGrid file formats"); SubRip has none and is as players read it.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Final

from tagger.logmel import MAX_HZ, MIN_HZ

_SHORTEST_S: Final = 1e-6  # of an interval that is written


@dataclass(frozen=True)
class Label:
    """One event of a recording.

    Attributes
    ----------
    score : the tag's score in the best bag of the event
    """

    tag: str
    start_s: float
    end_s: float
    score: float


def audacity(labels: Sequence[Label], duration_s: float) -> str:
    """A label track: start, end and text, separated by tabulators."""
    return "".join(f"{x.start_s:.6f}\t{x.end_s:.6f}\t{_named(x)}\n" for x in labels)


def raven(labels: Sequence[Label], duration_s: float) -> str:
    """A selection table of Raven Pro and Raven Lite; frequencies are those that the model hears."""
    columns = (
        *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)"),
        *("Low Freq (Hz)", "High Freq (Hz)", "Annotation", "Score"),
    )
    rows = [
        f"{number}\tSpectrogram 1\t1\t{x.start_s:.6f}\t{x.end_s:.6f}\t{MIN_HZ:.1f}\t{MAX_HZ:.1f}\t"
        f"{x.tag}\t{x.score:.4f}\n"
        for number, x in enumerate(labels, 1)
    ]
    return "\t".join(columns) + "\n" + "".join(rows)


def srt(labels: Sequence[Label], duration_s: float) -> str:
    """SubRip subtitles, which players show while a recording plays."""
    return "\n".join(
        f"{number}\n{_clock(x.start_s, ',')} --> {_clock(x.end_s, ',')}\n{_named(x)}\n"
        for number, x in enumerate(labels, 1)
    )


def vtt(labels: Sequence[Label], duration_s: float) -> str:
    """WebVTT, the subtitles of web pages."""
    cues = [
        f"\n{_clock(x.start_s, '.')} --> {_clock(x.end_s, '.')}\n{escape(_named(x), quote=False)}\n"
        for x in labels
    ]
    return "WEBVTT\n" + "".join(cues)


def plain_json(labels: Sequence[Label], duration_s: float) -> str:
    """A list of objects with tag, start_s, end_s and score."""
    return json.dumps([asdict(label) for label in labels], indent=1, ensure_ascii=False) + "\n"


def textgrid(labels: Sequence[Label], duration_s: float) -> str:
    """A Praat TextGrid with a tier for each tag, whose intervals fill the recording."""
    of_tag: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        of_tag[label.tag].append(label)
    end_s = max([duration_s, *(label.end_s for label in labels)])
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end_s:.6f}",
        "tiers? <exists>",
        f"size = {len(of_tag)}",
        "item []:",
    ]
    for number, (tag, events) in enumerate(sorted(of_tag.items()), 1):
        intervals = _filled(events, end_s)
        name = tag.replace('"', '""')
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
        ]
        lines += ["        xmin = 0", f"        xmax = {end_s:.6f}"]
        lines += [f"        intervals: size = {len(intervals)}"]
        for place, (start, end, text) in enumerate(intervals, 1):
            lines += [f"        intervals [{place}]:", f"            xmin = {start:.6f}"]
            lines += [f"            xmax = {end:.6f}", f'            text = "{text}"']
    return "\n".join(lines) + "\n"


def _filled(events: Sequence[Label], end_s: float) -> list[tuple[float, float, str]]:
    """The events of one tag with empty intervals before, between and behind them."""
    intervals = []
    at = 0.0
    for event in sorted(events, key=lambda event: event.start_s):
        if event.start_s - at > _SHORTEST_S:
            intervals.append((at, event.start_s, ""))
        intervals.append((event.start_s, event.end_s, f"{event.score:.2f}"))
        at = event.end_s
    if end_s - at > _SHORTEST_S:
        intervals.append((at, end_s, ""))
    return intervals


def _named(label: Label) -> str:
    return f"{label.tag} {label.score:.2f}"


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    ms = round(1000 * seconds)
    minutes, ms = divmod(ms, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{ms // 1000:02d}{point}{ms % 1000:03d}"


FORMATS: Final[dict[str, tuple[str, Callable[[Sequence[Label], float], str]]]] = {
    "audacity": (".txt", audacity),
    "raven": (".selections.txt", raven),
    "srt": (".srt", srt),
    "vtt": (".vtt", vtt),
    "json": (".json", plain_json),
    "textgrid": (".TextGrid", textgrid),
}
"""Formats with a file for each recording: the end of its name, and what writes it."""
