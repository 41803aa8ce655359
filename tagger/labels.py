"""Sets of labels, each with its identifier in the AudioSet ontology where it has one.

The identifiers were compared with AudioSet's published label lists (``class_labels_indices.csv``
and the ontology); ``None`` stands where no class of AudioSet means the same.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np

from tagger.arrays import IndexArray
from tagger.errors import CommandError

Labelling = Literal["one", "several"]
"""Whether a clip has exactly one label, or any number of them, none included."""

_DIRECTIONS: Final = frozenset(
    {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
)  # embeddings, overrides and isolates, which are invisible
_LIST: Final = re.compile(r"[;|\t\n]|,(?![\s\d])|^\s*\[.*\]\s*$", re.DOTALL)
"""What is between labels of a list, or around them."""


@dataclass(frozen=True)
class Label:
    """A class of sounds: its name, and its AudioSet identifier ("mid") or None."""

    name: str
    mid: str | None = None


@dataclass(frozen=True)
class LabelSet:
    """Labels in the order of a model's outputs.

    Raises
    ------
    CommandError : on construction, where there is no label, or one without a name or twice, or
        with characters in it that steer a terminal or the direction of a text
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        for text in (*self.names, *(label.mid or "" for label in self.labels)):
            if any(map(_steers, text)):
                raise CommandError(f"the label {text!a} has control characters: name it anew")
        if not self.labels or not all(self.names):
            raise CommandError("a label set needs labels, each with a name")
        if len(self._index) < len(self.labels):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise CommandError(f"labels occur more than once: {', '.join(twice)}")

    @classmethod
    def of(cls, names: Iterable[str]) -> "LabelSet":
        """Labels of these names in this order, with the mids of the names that this module knows.

        Raises
        ------
        CommandError : no names, an empty one, or one twice
        """
        return cls(tuple(Label(name, _KNOWN.get(name)) for name in names))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in the order of the labels."""
        return tuple(label.name for label in self.labels)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def indices(self, names: Iterable[str]) -> IndexArray:
        """Class numbers of labels, (n,) int64.

        Raises
        ------
        CommandError : a name is not in the set
        """
        names = list(names)
        unknown = sorted({name for name in names if name not in self})
        if unknown:
            raise CommandError(
                f"labels that are not in the list of {len(self)}: {', '.join(unknown[:5])}"
            )
        return np.array([self._index[name] for name in names], np.int64)


def _steers(character: str) -> bool:
    """Whether a character controls what is shown, beside what it shows."""
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in _DIRECTIONS
    )


def holds_several(texts: Iterable[str]) -> str | None:
    """The first of the texts of a label column that lists several labels; None: none does.

    ``dog;rain``, ``dog|rain`` and ``["dog", "rain"]`` do. A comma may belong to a name, as in
    AudioSet's ``Male speech, man speaking``: it separates labels where no space follows, or where
    all that it separates stands in other texts too, alone or in a list.
    """
    every = list(dict.fromkeys(texts))
    parts = {text: [part.strip() for part in text.split(",")] for text in every}
    n_texts = Counter(part for of_text in parts.values() for part in {*of_text})
    for text in every:
        if text in _KNOWN:
            continue
        among_others = len(parts[text]) > 1 and all(n_texts[part] > 1 for part in parts[text])
        if among_others or _LIST.search(text):
            return text
    return None


def _parsed(text: str) -> tuple[Label, ...]:
    """Labels from "name mid" lines; "-" is no mid."""
    pairs = (line.split() for line in text.split("\n") if line.strip())
    return tuple(Label(name, None if mid == "-" else mid) for name, mid in pairs)


FSDKAGGLE2018: Final = LabelSet(
    _parsed(
        """
        Acoustic_guitar /m/042v_gx
        Applause /m/028ght
        Bark /m/05tny_
        Bass_drum /m/0bm02
        Burping_or_eructation /m/03q5_w
        Bus /m/01bjv
        Cello /m/01xqw
        Chime /m/0f8s22
        Clarinet /m/01wy6
        Computer_keyboard /m/01m2v
        Cough /m/01b_21
        Cowbell /m/0239kh
        Double_bass /m/02fsn
        Drawer_open_or_close /m/0fqfqc
        Electric_piano /m/01s0ps
        Fart /m/02_nn
        Finger_snapping /m/025_jnm
        Fireworks /m/0g6b5
        Flute /m/0l14j_
        Glockenspiel /m/0dwtp
        Gong /m/0mbct
        Gunshot_or_gunfire /m/032s66
        Harmonica /m/03qjg
        Hi-hat /m/03qtq
        Keys_jangling /m/03v3yw
        Knock /m/07r4wb8
        Laughter /m/01j3sz
        Meow /m/07qrkrw
        Microwave_oven /m/0fx9l
        Oboe /m/05kms
        Saxophone /m/06ncr
        Scissors /m/01lsmm
        Shatter /m/07rn7sz
        Snare_drum /m/06rvn
        Squeak /m/07q6cd_
        Tambourine /m/07brj
        Tearing /m/07qcx4z
        Telephone /m/07cx4
        Trumpet /m/07gql
        Violin_or_fiddle /m/07y_7
        Writing /m/081rb
        """
    )
)
"""The 41 classes of DCASE 2018 task 2; the class numbers are those of the sorted names.

The oboe is a class of the AudioSet ontology, though not one of the 527 of the AudioSet data set.
"""

ESC_10: Final = LabelSet(
    _parsed(
        """
        Baby_cry /t/dd00002
        Chainsaw /m/01j4z9
        Clock_tick /m/07qjznl
        Dog_bark /m/05tny_
        Fire_crackling /m/07pzfmf
        Helicopter /m/09ct_
        Person_sneeze /m/01hsr_
        Rain /m/06mb1
        Rooster /m/07qn5dc
        Sea_waves /m/034srq
        """
    )
)
"""ESC-10. Ticking is AudioSet's "Tick-tock", crackling fire "Crackle", the rooster "Crowing"."""

ESC_50: Final = LabelSet(
    _parsed(
        """
        dog /m/05tny_
        rooster /m/07qn5dc
        pig /m/068zj
        cow /m/07rpkh9
        frog /m/09ld4
        cat /m/07qrkrw
        hen /m/07st89h
        insects /m/03vt0
        sheep /m/07bgp
        crow /m/04s8yn
        rain /m/06mb1
        sea_waves /m/034srq
        crackling_fire /m/07pzfmf
        crickets /m/09xqv
        chirping_birds /m/07pggtn
        water_drops /m/07r5v4s
        wind /m/03m9d0z
        pouring_water /m/07prgkl
        toilet_flush /m/01jt3m
        thunderstorm /m/0jb2l
        crying_baby /t/dd00002
        sneezing /m/01hsr_
        clapping /m/0l15bq
        breathing /m/0lyf6
        coughing /m/01b_21
        footsteps /m/07pbtc8
        laughing /m/01j3sz
        brushing_teeth /m/012xff
        snoring /m/01d3sd
        drinking_sipping -
        door_wood_knock /m/07r4wb8
        mouse_click -
        keyboard_typing /m/01m2v
        door_wood_creaks /m/07qh7jl
        can_opening -
        washing_machine /m/0174k2
        vacuum_cleaner /m/0d31p
        clock_alarm /m/046dlr
        clock_tick /m/07qjznl
        glass_breaking /m/07rn7sz
        helicopter /m/09ct_
        chainsaw /m/01j4z9
        siren /m/03kmc9
        car_horn /m/0912c9
        engine /m/02mk9
        train /m/07jdr
        church_bells /m/03w41f
        airplane /m/0cmf2
        fireworks /m/0g6b5
        hand_saw /m/01b82r
        """
    )
)
"""ESC-50 in the order of its ``target`` column."""

ESC_10_OF_ESC_50: Final = {
    "crying_baby": "Baby_cry",
    "chainsaw": "Chainsaw",
    "clock_tick": "Clock_tick",
    "dog": "Dog_bark",
    "crackling_fire": "Fire_crackling",
    "helicopter": "Helicopter",
    "sneezing": "Person_sneeze",
    "rain": "Rain",
    "rooster": "Rooster",
    "sea_waves": "Sea_waves",
}
"""What ESC-50 calls the classes of ESC-10."""

_KNOWN: Final = {
    label.name: label.mid for known in (FSDKAGGLE2018, ESC_10, ESC_50) for label in known
}
