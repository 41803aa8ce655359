"""A command line gives the job that the same values make in Python."""

import string
from dataclasses import fields, replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cli.parsing import parse
from pipelines.cli.tagging_verbs import Tag
from pipelines.cli.training_verbs import Evaluate, Finetune, Fit, Weights
from pipelines.cli.verb import options
from pipelines.cli.verbs import VERBS
from pipelines.runtime.limits import Limits, Resources
from pipelines.tagging.job import TagJob
from pipelines.training import finetune
from pipelines.training.specs import EXTRACTOR_TRAINING, HEAD_TRAINING
from tagger.configs import CNN_TRAINING, AttentionConfig, LSTMConfig, VGGishConfig
from tagger.errors import CommandError, OptionError

VERSION_1 = {
    "tag": "--clip-memory-mb --clip-timeout --cpus --dry-run --embedding-dtype --gpus --json "
    "--limit --max-failed --max-hours --model --no-embeddings --out --precision --print "
    "--retry-failed --store-patience --threshold --timeline --top-k --verbose",
    "status": "--json --verbose --verify",
    "demo": "--verbose",
    "fetch": "--archives --record --verbose",
    "weights": "--checksum --embedding-activation --out --pca --verbose",
    "prepare": "--clip-memory-mb --clip-timeout --copies --cpus --layout --most-semitones "
    "--no-balance --seed --shift-start --verbose --work",
    "finetune": "--average --batch-size --batches --bfloat16 --conv-widths --copies "
    "--cpus-per-worker --epochs --hidden --learning-rate --mixup --name --network --normalise "
    "--one-cycle --patience --seed --split --start --together --use-gpus --verbose "
    "--weight-decay --work --workers",
    "embed": "--copies --cpus --extractors --gpus --verbose --work",
    "fit": "--average --batch-size --batches --bfloat16 --copies --cpus-per-worker --epochs "
    "--extractors --hidden --kind --learning-rate --levels --mixup --name --one-cycle --patience "
    "--seed --segments --together --use-gpus --verbose --weight-decay --work --workers",
    "evaluate": "--float16 --members --name --publish --verbose --work",
    "reproduce": "--cpus-per-worker --layout --rows --seed --setting --start --together "
    "--use-gpus --verbose --work --workers",
}
"""Flags that people's scripts have in them."""


def made(verb, line):
    return verb.of(verb.parse(line.split()))


@pytest.mark.parametrize("name", VERSION_1)
def test_the_flags_of_the_first_version_are_still_there(name):
    flags = {option.flag for option in options(VERBS[name])}
    assert set(VERSION_1[name].split()) <= flags


def sample(option):
    """Words that give an option, and the value that they mean."""
    if option.is_switch:
        return [], option.default is not True
    if "parse" in option.metadata:
        return ["a:b", "c:d"], (("a", "b"), ("c", "d"))
    if option.choices:
        return [option.choices[-1]], option.choices[-1]
    if option.words:
        return [option.words[0]], option.words[0]
    kind = get_args(option.type)[0] if option.is_tuple else option.type
    value = {int: 7, float: 0.25, str: "some words"}[kind]
    if option.is_tuple:
        n = option.n_values or 2
        return [str(value)] * n, (value,) * n
    return [str(value)], value


@pytest.mark.parametrize("name", VERBS)
def test_every_option_is_understood_by_itself(name):
    every = options(VERBS[name])
    before, found = [], {}
    for option in every:
        line, value = sample(option)
        if not option.positional:
            behind = option.choices and "bare" in option.metadata  # of an equals sign
            given = [f"{option.flag}={line[0]}"] if behind else [option.flag, *line]
            assert parse(every, given) == {option.name: value}
            continue
        before += line  # what is told by its place stands behind what is told so before it
        found[option.name] = value
        assert parse(every, before) == found


def words(job):
    """A command line that gives every field of a job, in whatever way."""
    line = [*job.inputs]
    for part in (job, job.limits, job.resources):
        for field in fields(part):
            value = getattr(part, field.name)
            flag = f"--{field.name.removesuffix('_s').replace('_', '-')}"
            if field.name == "embeddings":
                line += [] if value else ["--no-embeddings"]
            elif isinstance(value, bool):
                line += [flag] if value else []
            elif isinstance(value, str | int | float):
                line += [flag, str(value)] if len(line) % 2 else [f"{flag}={value}"]
    return line


names = st.text(string.ascii_letters + "/:._ =*'", min_size=1)
counts = st.integers(1, 10**9)
seconds = st.floats(0.001, 1e6)
jobs = st.builds(
    TagJob,
    inputs=st.lists(names, min_size=1, max_size=3).map(tuple),
    out=names,
    model=names,
    top_k=counts,
    threshold=st.none() | st.just("card") | st.floats(0, 1),
    event_threshold=st.none() | st.just("card") | st.floats(0, 1),
    embeddings=st.booleans(),
    embedding_dtype=st.sampled_from(["float32", "float16"]),
    timeline=st.booleans(),
    limit=st.none() | counts,
    max_failed=st.floats(0, 1),
    retry_failed=st.booleans(),
    store_patience_s=seconds,
    limits=st.builds(Limits, clip_timeout_s=seconds, max_hours=seconds, clip_memory_mb=counts),
    resources=st.builds(
        Resources,
        cpus=st.none() | counts,
        gpus=st.none() | st.integers(0, 9),
        precision=st.sampled_from([None, "float32", "bfloat16"]),
    ),
)


@given(jobs)
@settings(max_examples=50, deadline=None)
def test_a_command_line_makes_the_job_that_python_makes(job):
    assert Tag.of(Tag.parse(words(job))).job == job


def test_what_is_not_given_has_the_default():
    assert made(Tag, "a b --out t").job == TagJob(inputs=("a", "b"), out="t")
    assert made(Tag, "a --print").job == TagJob(inputs=("a",), out="")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--out t", "inputs is required"),
        ("a", "out is required"),
        ("a --out", "out takes a value"),
        ("a --out t --top-k", "top_k takes a whole number"),
        ("a --out t --top-k many", "top_k takes a whole number"),
        ("a --out t --top-k 1.5", "top_k takes a whole number"),
        ("a --out t --threshold high", "threshold takes a number or card"),
        ("a --out t --embedding-dtype f", "embedding_dtype takes one of float32, float16"),
        ("a --out t --topk 3", "no option --topk; did you mean --top-k?"),
        ("a --out t --topk=3", "no option --topk; did you mean --top-k?"),
        ("a --out t -x", "no option -x$"),
        ("a --out t b", "'b' is more than this command takes"),
        ("a --out t --timeline=yes", "'yes' is more than this command takes"),
        ("a --out t --print --dry-run", "print does not go with --dry-run"),
        ("a --out t --limit None", "limit takes a whole number"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(line, complaint, capsys):
    with pytest.raises(CommandError, match=complaint):
        made(Tag, line)
    assert capsys.readouterr() == ("", "")


def test_an_argument_too_many_that_holds_credentials_is_not_repeated():
    with pytest.raises(CommandError, match="credentials") as refused:
        made(Tag, "a --out t s3://id:hush@bucket/x")
    assert "hush" not in str(refused.value)


def test_a_word_after_two_dashes_is_no_flag():
    assert made(Tag, "--out t -- -a.wav").job.inputs == ("-a.wav",)


SPEC = "--work w --name x --split all "


def test_finetune_trains_as_its_network_is_trained():
    assert made(Finetune, SPEC).extractor.training == EXTRACTOR_TRAINING
    baseline = made(Finetune, SPEC + "--network baseline --seed 3 --epochs 7")
    training = baseline.extractor.training
    assert (training.seed, training.epochs) == (3, 7)
    assert training.batch_size == CNN_TRAINING.batch_size
    assert made(Finetune, SPEC + "--patience 0").extractor.training.patience is None


def test_sizes_that_are_not_given_are_those_of_the_start(monkeypatch):
    narrow = VGGishConfig((2, 3, 4, 5), 8, "none")
    shapes = {("model", None): narrow, ("model", "b"): replace(narrow, hidden=9)}
    monkeypatch.setattr(finetune, "vggish_of", lambda *start: shapes[start])
    assert made(Finetune, SPEC + "--start model").extractor.vggish == narrow
    wider = made(Finetune, SPEC + "--start model --hidden 16").extractor.vggish
    assert wider == VGGishConfig((2, 3, 4, 5), 16, "none")
    named = made(Finetune, SPEC + "--start model --start-extractor b").extractor.vggish
    assert named == replace(narrow, hidden=9)
    from_scratch = made(Finetune, SPEC + "--conv-widths 16 32 64 128").extractor.vggish
    assert from_scratch == VGGishConfig((16, 32, 64, 128))


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("--network baseline --hidden 8", "VGGish, not for the baseline"),
        ("--network baseline --normalise", "normalise is for VGGish"),
        ("--network baseline --start model", "start is for VGGish"),
        ("--conv-widths 1 2 3", "conv_widths takes 4 whole numbers"),
        ("--conv-widths 1 2 3 x", "conv_widths takes 4 whole numbers"),
        ("--conv-widths 1 2 3 0", "conv_widths must be"),
        ("--workers 0", "workers must be greater than 0"),
        ("--copies -1", "copies must be 0 or more"),
    ],
)
def test_an_extractor_that_cannot_be(more, complaint):
    with pytest.raises(CommandError, match=complaint):
        made(Finetune, SPEC + more)


HEAD = "--work w --extractors a b --name F "


def test_fit_takes_the_options_of_its_kind_of_head():
    fit = made(Fit, HEAD + "--segments 2 --levels 1 3 --hidden 6")
    assert fit.extractors == ("a", "b")
    assert fit.head.network == AttentionConfig(2, (1, 3), 6)
    assert fit.head.training == HEAD_TRAINING
    assert made(Fit, HEAD + "--kind lstm").head.network == LSTMConfig()
    assert made(Fit, HEAD + "--kind lstm --hidden 6").head.network == LSTMConfig(6)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("--kind lstm --segments 6", "n_segments is for attention"),
        ("--kind lstm --levels 1", "levels is for attention"),
        ("--kind lstm --mixup 0.2", "mixup is not for an LSTM"),
        ("--kind rnn", "kind takes one of attention, lstm"),
        ("--levels", "levels takes whole numbers"),
        ("--levels 4", "levels must be some of"),
    ],
)
def test_a_head_that_cannot_be(more, complaint):
    with pytest.raises(CommandError, match=complaint):
        made(Fit, HEAD + more)


def test_members_are_pairs():
    evaluate = made(Evaluate, "--work w --name e --members F:mine classifier:x")
    assert evaluate.job.members == (("F", "mine"), ("classifier", "x"))
    with pytest.raises(CommandError, match="members takes pairs HEAD:EXTRACTOR, not F"):
        made(Evaluate, "--work w --name e --members F")


def test_pca_is_audiosets_where_nothing_else_is_said():
    assert made(Weights, "--out v").job.pca is None
    assert made(Weights, "--out v --pca").job.pca == "audioset"
    assert made(Weights, "--out v --pca my.npz").job.pca == "my.npz"
    assert made(Weights, "my.pth --out v").job.source == "my.pth"
    with pytest.raises(CommandError, match="pca takes a value, or none"):
        made(Weights, "--out v --pca a b")


def test_a_choice_that_may_be_left_out_takes_no_word_that_follows():
    every = options(VERBS["status"])
    for line in (["--verify", "out"], ["out", "--verify"], ["--verify=bytes", "out"]):
        assert parse(every, line) == {"verify": "bytes", "out": "out"}
    assert parse(every, ["out", "--verify=counts"]) == {"verify": "counts", "out": "out"}
    with pytest.raises(OptionError, match="takes one of bytes, counts"):
        parse(every, ["out", "--verify=all"])
