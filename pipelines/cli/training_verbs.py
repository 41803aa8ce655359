"""The verbs that train: from a data set to a model that ``tag`` takes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from pipelines.assets.fetch import FetchJob
from pipelines.assets.weights import WeightsJob
from pipelines.cli.exit_codes import Exit
from pipelines.cli.options import build
from pipelines.cli.terminal import show_figures, show_json, show_lines, show_note, show_report
from pipelines.cli.verb import Verb
from pipelines.runtime.limits import TrainResources
from pipelines.storage.store import open_store
from pipelines.training.jobs import (
    EmbedJob,
    EvaluateJob,
    FinetuneJob,
    FitJob,
    InWorkFolder,
    OnExtractors,
    PrepareJob,
    PublishJob,
)
from pipelines.training.specs import SCRATCH, ExtractorSpec, HeadSpec
from tagger.configs import CNN_TRAINING, LSTMConfig
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Fetch(Verb):
    """Download the data set FSDKaggle2018, verified, or unpack it from local archives.

    Needs a download of 4.6 GiB and space to unpack it, or the archives in a local folder.

    Leaves the data set in its folder, which prepare and reproduce take as it is. A repeated command
    takes up what broke off.

    Example::

        python -m pipelines fetch FSDKaggle2018
    """

    job: FetchJob

    def run(self, command: list[str]) -> Exit:
        from pipelines.assets import fetch

        show_report(fetch.run(self.job).text)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Weights(Verb):
    """Convert published VGGish weights into an extractor to start from.

    Needs a download of 0.3 GB, or the file. Its checksum and a known embedding are verified.

    Leaves a model folder for the --start of finetune and reproduce. It cannot tag by itself.

    Example::

        python -m pipelines weights torchvggish --out vggish
    """

    job: WeightsJob

    def run(self, command: list[str]) -> Exit:
        from pipelines.assets import weights

        show_report(weights.run(self.job, command).text)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Prepare(Verb):
    """Turn the labelled clips of a data set into log-mel patches to train on.

    Needs a data set; it is the first step of a training.

    Leaves patches of all clips in the work folder, with those of pitch-shifted copies, and a list
    of the clips that do not decode. Tells first how many clips each class has in each part and
    fold, and which are too few for what.

    Example::

        python -m pipelines prepare sounds/ --work work
    """

    job: PrepareJob

    def run(self, command: list[str]) -> Exit:
        from pipelines.training import prepare

        show_figures(prepare.run(self.job, command, show_note).metrics)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class _Training(Verb, InWorkFolder):
    """A verb that trains networks."""

    tensorboard: bool = False
    """Write the learning curves for TensorBoard too, below tensorboard/ in the work folder. The
    package tensorboard must be there."""

    def trained(self, train: Callable[[], dict[str, Any]]) -> Exit:
        """Train, and show what came of it."""
        from pipelines.training.tensorboard import require_tensorboard, write_curves

        if self.tensorboard:
            require_tensorboard()
        networks = train()
        if self.tensorboard:
            write_curves(open_store(self.work), networks)
        show_figures(networks)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Finetune(_Training, InWorkFolder):
    """Train an extractor (VGGish) on the prepared clips.

    Needs a work folder after prepare, and the result of weights or a model where --start is given.

    Leaves the extractor in the work folder under its name, for embed. A repeated command goes on
    from the last checkpoint. With --epochs 0 it trains nothing and takes a model's extractor over,
    for heads upon it. With --network baseline it trains the challenge's network, with
    defaults of its own, which --network baseline --help shows.

    Example::

        python -m pipelines finetune --work work --name mine --split fold-1-first --start vggish
    """

    extractor: ExtractorSpec
    resources: TrainResources = field(default_factory=TrainResources)
    """Resources."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Sizes that are not given are those of what the training starts from."""
        defaults = cls.defaults(given)
        start = given.get("start", SCRATCH)
        if start != SCRATCH and given.get("network") != "baseline":
            from pipelines.training import finetune

            defaults["vggish"] = finetune.vggish_of(start, given.get("start_extractor"))
        verb: Self = build(cls, given, defaults)
        return verb

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"training": CNN_TRAINING} if given.get("network") == "baseline" else {}

    def run(self, command: list[str]) -> Exit:
        from pipelines.training import finetune

        job = FinetuneJob(work=self.work, extractors=(self.extractor,), resources=self.resources)
        return self.trained(lambda: finetune.run(job, command).metrics)


@dataclass(frozen=True, kw_only=True)
class Embed(Verb):
    """Compute the embeddings of all prepared clips by fine-tuned extractors.

    Needs a work folder after finetune.

    Leaves 128 numbers for each segment in the work folder, by each extractor, for fit.

    Example::

        python -m pipelines embed --work work --extractors mine
    """

    job: EmbedJob

    def run(self, command: list[str]) -> Exit:
        from pipelines.training import embed

        show_figures(embed.run(self.job, command).metrics)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Fit(_Training, OnExtractors):
    """Train a head (attention or LSTM) upon the embeddings of each extractor.

    Needs a work folder after embed.

    Leaves one head for each extractor in the work folder under its name, for evaluate.

    Example::

        python -m pipelines fit --work work --extractors mine --name F --copies 100 --mixup 0.2
    """

    kind: Literal["attention", "lstm"] = "attention"
    """Kind of the head: attention upon bags of segments, which is the paper's and can be published
    as a model, or an lstm upon whole clips, which the paper compares it with."""

    head: HeadSpec
    resources: TrainResources = field(default_factory=TrainResources)
    """Resources."""

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """LSTMs read whole clips, on one level, without dropout."""
        if given.get("kind") != "lstm":
            return {}
        for name in ("n_segments", "levels", "dropout"):
            if name in given:
                raise OptionError(name, "is for attention; an LSTM reads whole clips")
        return {"network": LSTMConfig()}

    def run(self, command: list[str]) -> Exit:
        from pipelines.training import fit

        job = FitJob(
            work=self.work,
            extractors=self.extractors,
            heads=(self.head,),
            resources=self.resources,
        )
        return self.trained(lambda: fit.run(job, command).metrics)


@dataclass(frozen=True, kw_only=True)
class Evaluate(Verb):
    """Measure an ensemble on the clips that it was not trained on, and publish it as a model.

    Needs a work folder after fit; with the head classifier, after finetune.

    Leaves a report with figures (MAP@3, accuracy, mAP, lwlrap, d', F1, what chance would reach), a
    confusion matrix, the learning curves and the worst mistakes below evaluations/ in the work
    folder, the scores of every clip in predictions.parquet and, with --publish, a model for tag.
    Where all clips were trained on there is nothing to measure, and the model is published without
    figures.

    Example::

        python -m pipelines evaluate --work work --name mine --members F:mine --publish models/mine
    """

    job: EvaluateJob

    publish: str | None = field(default=None, metadata={"metavar": "FOLDER"})
    """Local folder to write the ensemble to, as a model that tag takes. Left out: none is
    written."""

    float16: bool = False
    """Store the published model's weights in float16, in half the space."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.training import evaluate

        job = self.job
        if self.publish is not None:
            publish = PublishJob(
                folder=self.publish, name=job.name, float16=self.float16, command=tuple(command)
            )
            job = replace(job, publish=publish)
        show_figures(evaluate.run(job, command).metrics)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Runs(Verb, InWorkFolder):
    """List the steps of a training: settings that differ, figures, seconds.

    Needs a work folder after prepare.

    Leaves nothing.

    Example::

        python -m pipelines runs --work work --format csv
    """

    format: Literal["table", "csv", "json"] = "table"
    """How to write the list: a table for people, CSV, or JSON with an object for each step."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.training.run_table import run_table

        table = run_table(open_store(self.work))
        if self.format == "csv":
            show_lines(table.to_csv(index=False).rstrip().split("\n"))
        elif self.format == "json":
            show_json(json.loads(table.to_json(orient="records")))
        else:
            text = table.to_string(index=False, na_rep="", float_format="{:.4g}".format)
            show_lines(text.split("\n"))
        return Exit.DONE
