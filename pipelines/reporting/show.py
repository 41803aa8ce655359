"""Clips with their pictures and sounds, ready for the page."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.reporting.curves import Curves, curves
from pipelines.reporting.gallery import Entry
from pipelines.reporting.hearing import Listener, Sound
from pipelines.reporting.media import SOUND_BITS_PER_S, frames, mp3, picture, shades
from pipelines.reporting.page import Keep, clock, name
from tagger.errors import ClipError

WIDTH: Final = 480  # pixels of a picture
HEIGHT: Final = 160
_PICTURE_BYTES: Final = 26_000  # of white noise 24,000
_CARD_BYTES: Final = 5_000  # of HTML
_NAME_BYTES: Final = 12  # that a letter of the name adds: it stands there twice, and as JSON
_IN_BASE64: Final = 4 / 3


@dataclass(frozen=True)
class Shown:
    """A clip as it stands on the page.

    Attributes
    ----------
    number : of the clip on the page, from 0
    problem : why there is neither picture nor sound, or ""
    picture, sound : what the page calls them
    alt : the picture in words
    drawn : what is drawn over it, None without one
    """

    number: int
    entry: Entry
    problem: str = ""
    picture: str = ""
    sound: str = ""
    alt: str = ""
    drawn: Curves | None = None
    width: int = WIDTH
    height: int = HEIGHT


def cost_bytes(entry: Entry) -> float:
    """What a clip adds to a page that is one file, at most."""
    seconds = entry.span[1] - entry.span[0]
    media = _PICTURE_BYTES + seconds * SOUND_BITS_PER_S / 8
    return _IN_BASE64 * media + _CARD_BYTES + _NAME_BYTES * len(entry.clip.uri)


def show(entries: Sequence[Entry], listener: Listener, keep: Keep) -> Iterator[Shown]:
    """Each entry with picture and sound; each recording is read once."""
    by_clip: dict[str, list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        by_clip[entry.clip.clip_id].append(number)
    for numbers in by_clip.values():
        of_clip = [entries[number] for number in numbers]
        problem = ""
        sounds: list[Sound | None] = [None] * len(of_clip)
        try:
            sounds[:] = listener.stretches(of_clip[0].clip, [one.span for one in of_clip])
        except ClipError as error:
            problem = f"{error.reason}, {error.detail}"
        for number, entry, sound in zip(numbers, of_clip, sounds, strict=True):
            if sound is None or not len(sound.samples):
                yield Shown(number, entry, problem or "nothing is left at that place")
            else:
                yield _shown(number, entry, sound, keep)


def _shown(number: int, entry: Entry, sound: Sound, keep: Keep) -> Shown:
    bands = frames(sound, entry.clip.peak)
    drawn = picture(bands, WIDTH, HEIGHT, shades(bands))
    return Shown(
        number,
        entry,
        picture=keep(drawn, ".webp"),
        sound=keep(mp3(sound), ".mp3"),
        alt=_in_words(entry),
        drawn=curves(entry.moments, *entry.span),
    )


def _in_words(entry: Entry) -> str:
    """The picture for those who do not see it."""
    start_s, end_s = entry.span
    text = f"Spectrogram of {name(entry.clip.uri)} from {clock(start_s)} to {clock(end_s)}."
    if not entry.moments:
        return text
    best = max(entry.moments, key=lambda moment: moment.score)
    text += f" {entry.tag} {best.score:.2f}"
    if best.attention:
        from_s, to_s, _ = max(best.weights(), key=lambda part: part[2])
        text += f", most attention from {clock(from_s)} to {clock(to_s)}"
    return f"{text}."
