"""The flags of the training verbs, for ``__main__``.

Flags say where and how much; what a row of the paper is stands in ``recipes``. A flag that is not
given leaves the job's own default, so nothing here imports torch before a verb runs.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, Final

from pipelines.runtime.limits import Limits, Resources
from tagger.errors import CommandError

BATCHES: Final = ("balanced", "unbalanced", "examples")
VGGISH, BASELINE = "vggish", "baseline"
ATTENTION, LSTM = "attention", "lstm"

Verbs = Any  # what argparse's add_subparsers gives; its type is private


def add(verbs: Verbs) -> None:
    """Add the training verbs, each with the function that carries it out."""
    for name, help_, flags, run in (
        ("fetch", "download FSDKaggle2018, verified", _fetch_flags, _fetch),
        ("weights", "convert published VGGish weights", _weights_flags, _weights),
        ("prepare", "labelled clips to patches", _prepare_flags, _prepare),
        ("finetune", "train an extractor", _finetune_flags, _finetune),
        ("embed", "patches to embeddings", _embed_flags, _embed),
        ("fit", "train a head upon extractors", _fit_flags, _fit),
        ("evaluate", "score an ensemble, publish it as a model", _evaluate_flags, _evaluate),
        ("reproduce", "the paper's tables beside ours", _reproduce_flags, _reproduce),
    ):
        verb = verbs.add_parser(name, help=help_)
        flags(verb)
        verb.set_defaults(run=run)


def _fetch_flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("out", metavar="OUT", help="local folder of the data set")
    verb.add_argument("--archives", metavar="FOLDER", help="take archives from here")
    verb.add_argument("--record", metavar="URL", help="the record's JSON, with its checksums")


def _weights_flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("source", nargs="?", help="known name, https:// URL or local file")
    verb.add_argument("--out", required=True, help="local folder of the model to write")
    verb.add_argument("--checksum", help="sha256:… or md5:… that the file must have")
    verb.add_argument(
        "--pca",
        nargs="?",
        const="audioset",
        help="keep PCA parameters beside: AudioSet's, or an https:// URL or local npz",
    )
    verb.add_argument(
        "--embedding-activation", choices=("relu", "none"), help="of the network (relu)"
    )


def _prepare_flags(verb: argparse.ArgumentParser) -> None:
    _data_and_work(verb)
    verb.add_argument(
        "--no-balance",
        dest="balance",
        action="store_const",
        const=False,
        help="no copies to raise each class to the largest",
    )
    verb.add_argument("--copies", type=int, help="at least so many copies of a training clip")
    verb.add_argument("--most-semitones", type=int, help="largest pitch shift of a copy")
    verb.add_argument(
        "--shift-start",
        action="store_const",
        const=True,
        help="start each copy at an offset of its own",
    )
    verb.add_argument("--seed", type=int, help="of the copies")
    verb.add_argument("--cpus", type=int, help="CPU workers (default: all the cluster has)")
    verb.add_argument(
        "--clip-timeout", dest="clip_timeout_s", type=float, help="seconds for decoding a clip"
    )
    verb.add_argument(
        "--clip-memory-mb", dest="memory_mb", type=int, help="MiB for a clip and its copies"
    )


def _finetune_flags(verb: argparse.ArgumentParser) -> None:
    _work_and_name(verb)
    verb.add_argument("--split", required=True, help="as pipelines/splitting.py names them")
    verb.add_argument("--network", choices=(VGGISH, BASELINE), help="or the DCASE CNN")
    verb.add_argument("--start", help="scratch, or folder or URI of a model or of VGGish weights")
    verb.add_argument(
        "--conv-widths", type=int, nargs=4, metavar="N", help="of the convolutions (64 128 256 512)"
    )
    verb.add_argument(
        "--hidden",
        type=int,
        help="units of the fully connected layers (4096, or as what it starts from)",
    )
    verb.add_argument(
        "--normalise",
        action="store_const",
        const=True,
        help="train with batch normalisation, folded into the weights at the end",
    )
    verb.add_argument("--copies", type=int, help="copies of a clip to train on, at most")
    _training(verb)


def _embed_flags(verb: argparse.ArgumentParser) -> None:
    _work_and_extractors(verb)
    verb.add_argument("--copies", type=int, help="copies of a clip to embed, at most")
    verb.add_argument("--cpus", type=int, help="CPU workers (default: all the cluster has)")
    verb.add_argument("--gpus", type=int, help="GPU actors (default: all; 0: CPUs only)")


def _fit_flags(verb: argparse.ArgumentParser) -> None:
    _work_and_extractors(verb)
    verb.add_argument("--name", required=True, help="of the head")
    verb.add_argument("--kind", choices=(ATTENTION, LSTM), default=ATTENTION, help="of network")
    verb.add_argument("--segments", dest="n_segments", type=int, help="in a bag (6)")
    verb.add_argument("--levels", type=int, nargs="+", help="that attention reads (1 2 3)")
    verb.add_argument("--hidden", type=int, help="units of each layer (600)")
    verb.add_argument("--copies", type=int, help="copies of a clip to train on, at most")
    _training(verb)


def _evaluate_flags(verb: argparse.ArgumentParser) -> None:
    _work_and_name(verb)
    verb.add_argument(
        "--members",
        nargs="+",
        required=True,
        metavar="HEAD:EXTRACTOR",
        help="the ensemble; the head `classifier` is the extractor's own",
    )
    verb.add_argument("--publish", metavar="FOLDER", help="write the ensemble as a model")
    verb.add_argument("--float16", action="store_true", help="store the model in half the space")


def _reproduce_flags(verb: argparse.ArgumentParser) -> None:
    _data_and_work(verb)
    verb.add_argument("--rows", nargs="+", help="as 2-all or 3-F; default: all that the data allow")
    verb.add_argument("--setting", help="paper, or reduced for small data sets on CPUs")
    verb.add_argument("--start", help="scratch, or folder or URI of VGGish weights")
    verb.add_argument("--publish", metavar="FOLDER", help="with --rows bundled: the model")
    verb.add_argument("--seed", type=int, help="of everything")
    _workers(verb)


def _data_and_work(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("data", metavar="DATA", help="folder of a data set, or CSV of uri and label")
    verb.add_argument("--work", required=True, help="folder or s3:// prefix of all that is made")
    verb.add_argument("--layout", help="of the data set; default: what it looks like")


def _work_and_name(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--work", required=True, help="folder or s3:// prefix of all that is made")
    verb.add_argument("--name", required=True, help="of what is made")


def _work_and_extractors(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--work", required=True, help="folder or s3:// prefix of all that is made")
    verb.add_argument("--extractors", nargs="+", required=True, help="their names")


def _training(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("training")
    group.add_argument("--epochs", type=int, help="at most")
    group.add_argument("--patience", type=int, help="epochs without a better loss; 0: no limit")
    group.add_argument("--batches", choices=BATCHES, help="how batches are drawn")
    group.add_argument("--batch-size", type=int, help="clips, or examples")
    group.add_argument("--learning-rate", type=float, help="of Adam")
    group.add_argument("--weight-decay", type=float, help="of Adam, decoupled")
    group.add_argument(
        "--one-cycle",
        action="store_const",
        const=True,
        help="raise the learning rate in the first tenth of all steps, then lower it to 0",
    )
    group.add_argument("--average", type=float, help="decay of a running mean of the weights")
    group.add_argument("--mixup", type=float, help="alpha; 0: none")
    group.add_argument(
        "--bfloat16", action="store_const", const=True, help="compute in bfloat16 where it is safe"
    )
    group.add_argument("--seed", type=int, help="of weights, batches and mixup")
    _workers(verb)


def _workers(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("resources")
    group.add_argument("--workers", type=int, help="of Ray Train")
    group.add_argument("--cpus-per-worker", type=int, help="CPUs, and torch's threads (1)")
    group.add_argument(
        "--together",
        action="store_const",
        const=True,
        help="all workers train each network together",
    )
    group.add_argument(
        "--use-gpus",
        dest="gpus_for_workers",
        action="store_const",
        const=True,
        help="a GPU for each worker",
    )


def _given(cls: type, flags: argparse.Namespace, **more: Any) -> Any:
    """``cls`` from the flags that were given and bear the names of its fields."""
    names = {field.name for field in fields(cls)}
    given = {n: v for n, v in vars(flags).items() if n in names and v is not None}
    return cls(**given | {name: value for name, value in more.items() if value is not None})


def _train_resources(flags: argparse.Namespace) -> Any:
    from pipelines.training.jobs import TrainResources

    return _given(TrainResources, flags, gpus=flags.gpus_for_workers)


def _changed(training: Any, flags: argparse.Namespace) -> Any:
    """A ``TrainingConfig`` with the flags that were given; patience 0 is none."""
    names = {field.name for field in fields(training)}
    given = {n: v for n, v in vars(flags).items() if n in names and v is not None}
    if given.get("patience") == 0:
        given["patience"] = None
    return replace(training, **given)


@contextmanager
def _possible() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise CommandError(f"no such network: {error}") from error


def _fetch(flags: argparse.Namespace, command: list[str]) -> int:
    from pipelines.assets import fetch

    sys.stdout.write(fetch.run(_given(fetch.FetchJob, flags)).text + "\n")
    return 0


def _weights(flags: argparse.Namespace, command: list[str]) -> int:
    from pipelines.assets import weights

    sys.stdout.write(weights.run(_given(weights.WeightsJob, flags), command).text + "\n")
    return 0


def _prepare(flags: argparse.Namespace, command: list[str]) -> int:
    from pipelines.training import prepare
    from pipelines.training.jobs import PrepareJob

    limits = _given(Limits, flags)
    job = _given(PrepareJob, flags, limits=limits, resources=Resources(cpus=flags.cpus))
    return _tell(prepare.run(job, command).metrics)


def _finetune(flags: argparse.Namespace, command: list[str]) -> int:
    from pipelines.training import finetune
    from pipelines.training.jobs import EXTRACTOR_TRAINING, SCRATCH, ExtractorSpec, FinetuneJob
    from tagger.configs import CNN_TRAINING

    widths = flags.conv_widths and tuple(flags.conv_widths)
    sizes = {"conv_widths": widths, "hidden": flags.hidden}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    if flags.network == BASELINE:
        if sizes:
            raise CommandError("--conv-widths and --hidden are for VGGish, not for the baseline")
        spec = _given(ExtractorSpec, flags, training=_changed(CNN_TRAINING, flags))
    else:
        network = finetune.vggish_of(flags.start or SCRATCH)
        with _possible():
            network = replace(network, **sizes)
        training = _changed(EXTRACTOR_TRAINING, flags)
        spec = _given(ExtractorSpec, flags, vggish=network, training=training)
    job = FinetuneJob(work=flags.work, extractors=(spec,), resources=_train_resources(flags))
    return _tell(finetune.run(job, command).metrics)


def _embed(flags: argparse.Namespace, command: list[str]) -> int:
    from pipelines.training import embed
    from pipelines.training.jobs import EmbedJob

    resources = Resources(cpus=flags.cpus, gpus=flags.gpus)
    job = EmbedJob(
        work=flags.work,
        extractors=tuple(flags.extractors),
        copies=flags.copies,
        resources=resources,
    )
    return _tell(embed.run(job, command).metrics)


def _fit(flags: argparse.Namespace, command: list[str]) -> int:
    from pipelines.training import fit
    from pipelines.training.jobs import HEAD_TRAINING, FitJob, HeadSpec
    from tagger.configs import AttentionConfig, LSTMConfig

    if flags.kind == LSTM and (flags.n_segments or flags.levels):
        raise CommandError("--segments and --levels are for attention; an LSTM takes whole clips")
    levels = tuple(flags.levels) if flags.levels else None
    kind = LSTMConfig if flags.kind == LSTM else AttentionConfig
    sizes = argparse.Namespace(n_segments=flags.n_segments, hidden=flags.hidden)
    with _possible():
        network = _given(kind, sizes, levels=levels)
    spec = _given(HeadSpec, flags, network=network, training=_changed(HEAD_TRAINING, flags))
    job = FitJob(
        work=flags.work,
        extractors=tuple(flags.extractors),
        heads=(spec,),
        resources=_train_resources(flags),
    )
    return _tell(fit.run(job, command).metrics)


def _evaluate(flags: argparse.Namespace, command: list[str]) -> int:
    from pipelines.training import evaluate
    from pipelines.training.jobs import EvaluateJob, PublishJob

    publish = flags.publish and PublishJob(
        folder=flags.publish, name=flags.name, float16=flags.float16, command=tuple(command)
    )
    members = tuple(_members(flags.members))
    job = EvaluateJob(work=flags.work, name=flags.name, members=members, publish=publish)
    return _tell(evaluate.run(job, command).metrics)


def _members(texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        head, separator, extractor = text.partition(":")
        if not separator:
            raise CommandError(f"--members: {text} is not HEAD:EXTRACTOR")
        yield head, extractor


def _reproduce(flags: argparse.Namespace, command: list[str]) -> int:
    from pipelines.paper import reproduce
    from pipelines.training.jobs import ReproduceJob

    rows = tuple(flags.rows) if flags.rows else None
    job = _given(ReproduceJob, flags, rows=rows, resources=_train_resources(flags))
    return _tell(reproduce.run(job, command).metrics)


def _tell(metrics: dict[str, Any]) -> int:
    sys.stdout.write(json.dumps(metrics, indent=2, ensure_ascii=False, default=str) + "\n")
    return 0
