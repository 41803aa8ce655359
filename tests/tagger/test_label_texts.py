"""Texts that list the labels of a clip: read as told, or refused in a line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.errors import CommandError
from tagger.label_texts import as_sets, from_text, to_text

names = st.text(st.characters(exclude_characters=";,|[]\t\n", exclude_categories=["C", "Z"]))


@given(st.lists(st.sets(names.filter(bool), min_size=1), min_size=1))
def test_what_was_listed_is_read_whatever_the_separator(sets):
    written = [to_text(labels) for labels in sets]
    assert as_sets((json.dumps([*labels]) for labels in sets), "json") == written
    assert [{*from_text(text)} for text in written] == sets
    if any(len(labels) > 1 for labels in sets):
        for separator in (";", "|", " ; "):
            assert as_sets([separator.join(labels) for labels in sets], separator) == written


@pytest.mark.parametrize(
    ("text", "separator", "labels"),
    [
        ("dog;rain", ";", ["dog", "rain"]),
        ("rain | dog", "|", ["dog", "rain"]),
        ("dog;dog", ";", ["dog"]),
        ("Male speech, man speaking;Dog", ";", ["Dog", "Male speech, man speaking"]),
        ("dog,rain", ",", ["dog", "rain"]),
        ("dog/rain", "/", ["dog", "rain"]),
        ('["dog", "rain"]', "json", ["dog", "rain"]),
        ("[]", "json", []),
        (" dog ", None, ["dog"]),
    ],
)
def test_a_set_is_sorted_and_holds_each_label_once(text, separator, labels):
    assert as_sets([text, ""], separator) == [json.dumps(labels), ""]


@pytest.mark.parametrize(
    ("texts", "separator", "message"),
    [
        (["dog;", "dog;rain"], ";", "'dog;' lists a label without a name"),
        (["dog;;rain"], ";", "'dog;;rain' lists a label without a name"),
        (['["dog", ""]'], "json", "lists a label without a name"),
        (["dog|rain", "a;b"], ";", r"'dog\|rain' is more than one label after .* at ';'"),
        (["dog;rain"], None, "'dog;rain' is more than one label: tell what separates"),
        (["dog;rain"], "json", "'dog;rain' is no JSON list"),
        (['{"dog": 1}'], "json", "no JSON list"),
        (["[1, 2]"], "json", "no JSON list"),
        (['"dog"'], "json", "no JSON list"),
        (['["dog;rain"]'], "json", "'dog;rain' is more than one label after"),
    ],
)
def test_what_is_refused_in_a_line(texts, separator, message):
    with pytest.raises(CommandError, match=message) as error:
        as_sets(texts, separator)
    assert "\n" not in str(error.value)
