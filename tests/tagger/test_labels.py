"""Label sets: their order, and their AudioSet identifiers."""

import pytest

from tagger import labels
from tagger.errors import CommandError


def test_the_fixed_order_of_fsdkaggle2018():
    names = labels.FSDKAGGLE2018.names
    assert len(names) == 41
    assert list(names) == sorted(names)
    assert [names[i] for i in (0, 13, 23, 40)] == [
        "Acoustic_guitar",
        "Drawer_open_or_close",
        "Hi-hat",
        "Writing",
    ]
    assert labels.FSDKAGGLE2018.labels[29] == labels.Label("Oboe", "/m/05kms")


@pytest.mark.parametrize("known", [labels.FSDKAGGLE2018, labels.ESC_10, labels.ESC_50])
def test_audioset_identifiers_are_well_formed_and_not_shared(known):
    mids = [label.mid for label in known if label.mid]
    assert all(mid.startswith(("/m/", "/t/dd")) for mid in mids)
    assert len(set(mids)) == len(mids)


def test_esc_10_is_a_part_of_esc_50():
    assert set(labels.ESC_10_OF_ESC_50.values()) == set(labels.ESC_10.names)
    mid_of = {label.name: label.mid for label in [*labels.ESC_10, *labels.ESC_50]}
    for theirs, ours in labels.ESC_10_OF_ESC_50.items():
        assert mid_of[theirs] == mid_of[ours]


def test_names_to_indices_and_back():
    known = labels.LabelSet.of(["b", "Bark", "a"])
    assert known.indices(["a", "b", "a"]).tolist() == [2, 0, 2]
    assert [label.mid for label in known] == [None, "/m/05tny_", None]
    assert "Bark" in known
    assert len(known) == 3


def test_a_label_that_is_not_in_the_list():
    with pytest.raises(CommandError, match="not in the list of 10: Cat, Dog"):
        labels.ESC_10.indices(["Rain", "Dog", "Cat", "Dog"])


@pytest.mark.parametrize(
    ("texts", "several"),
    [
        (["dog", "rain", "dog;rain"], "dog;rain"),
        (["x", "dog; rain"], "dog; rain"),
        (["dog", "a|b"], "a|b"),
        (["dog", "a,b"], "a,b"),
        (["dog", "rain", "dog, rain"], "dog, rain"),
        (["dog, rain", "dog, cat", "cat, rain"], "dog, rain"),
        (["Electric_guitar,Guitar,Music"], "Electric_guitar,Guitar,Music"),
        (['["dog", "rain"]', "cat"], '["dog", "rain"]'),
        (["dog\nrain"], "dog\nrain"),
        (["dog;"], "dog;"),
        (["Inside, small room", "Inside, public space", "Male speech, man speaking"], None),
        (["Fire crackling (wood)", "1,000 Hz", "Rock & roll", "a/b", "", "dog"], None),
        ([*labels.FSDKAGGLE2018.names, *labels.ESC_50.names], None),
    ],
)
def test_texts_that_list_several_labels(texts, several):
    assert labels.holds_several(texts) == several


@pytest.mark.parametrize("names", [[], ["a", ""], ["a", "b", "a"]])
def test_impossible_label_sets(names):
    with pytest.raises(CommandError, match="label"):
        labels.LabelSet.of(names)


@pytest.mark.parametrize(
    "character",
    ["\0", "\t", "\n", "\r", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066", "\ud800"],
)
def test_a_name_that_steers_a_terminal(character):
    for label in (labels.Label(f"Dog{character}bark"), labels.Label("Dog", f"/m/{character}")):
        with pytest.raises(CommandError, match="control characters") as error:
            labels.LabelSet((labels.Label("Rain"), label))
        assert str(error.value).isprintable()


def test_names_in_all_scripts():
    names = ("Vogelgesang (fröhlich)", "雨音", "باران", "می\u200cخواند", "🐕\u200d🦺", "a b")
    assert labels.LabelSet(tuple(map(labels.Label, names))).names == names
