"""What is shown can steer no terminal, end no line and hide nothing; what can be seen stays."""

import json
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipelines.runtime.visible import visible, visible_json

SEEN = [
    "file:///archive/Übung (1).wav",
    "録音.flac",
    "запись №5",
    "تسجيل",
    "नमूना",
    "cafe\u0301",  # a combining accent
    "🐕 emoji",
    "a\\b 'quoted' \"twice\"",
]
HIDDEN = {
    "a\nb": r"a\nb",
    "a\rb": r"a\rb",
    "a\tb": r"a\tb",
    "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
    "a\x7f\x9b31m": r"a\x7f\x9b31m",
    "gpj\u202evaw": r"gpj\u202evaw",
    "\u2066\u200f\u061c": r"\u2066\u200f\u061c",
    "a\u200b\u2060\ufeffb": r"a\u200b\u2060\ufeffb",
    "a\u2028b\u2029c\x85d": r"a\u2028b\u2029c\x85d",
    "\udce9": r"\udce9",
    "\u3164\u115f\u2800\u034f": r"\u3164\u115f\u2800\u034f",
    "\U000e0041\U000e0100": r"\U000e0041\U000e0100",
    "\u00a0\u3000": r"\xa0\u3000",
    "\U000f0000\ue000": r"\U000f0000\ue000",
}


def test_what_can_be_seen_stays_as_it_is() -> None:
    for text in SEEN:
        assert visible(text) == visible_json(text) == text


def test_what_cannot_be_seen_is_written_out() -> None:
    for text, shown in HIDDEN.items():
        assert visible(text) == shown


def test_no_letter_of_these_kinds_passes() -> None:
    """Control, format, surrogate, private use, not assigned, and separators but the space."""
    kinds = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        if unicodedata.category(letter) in kinds and letter != " ":
            assert visible(letter).startswith("\\"), hex(code)


@given(st.text(st.characters(codec=None)))
def test_json_says_the_same_and_lines_are_kept(text: str) -> None:
    written = json.dumps([text, 1], indent=2, ensure_ascii=False)
    shown = visible_json(written)
    assert json.loads(shown) == json.loads(written)
    assert shown.count("\n") == written.count("\n")
    assert visible(shown.replace("\n", "")) == shown.replace("\n", "")


@given(st.text(st.characters(codec=None)))
def test_what_was_made_visible_once_stays(text: str) -> None:
    assert visible(visible(text)) == visible(text)
