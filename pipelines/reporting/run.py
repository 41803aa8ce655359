"""``report`` from what the command names to a page that is written."""

import difflib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pipelines.inputs.access import Access
from pipelines.output.query import Ask, asking
from pipelines.output.run_history import RunHistory
from pipelines.reporting import gallery, page
from pipelines.reporting.gallery import KINDS, Chosen, Entry
from pipelines.reporting.hearing import Listener
from pipelines.reporting.job import ReportJob
from pipelines.reporting.moments import MOST_SEGMENTS, around_the_best, computed
from pipelines.reporting.overview import Overview, overview, scope_of
from pipelines.reporting.place import Place
from pipelines.reporting.show import Shown, cost_bytes, show
from pipelines.runtime.progress import Progress
from pipelines.runtime.visible import visible
from pipelines.storage.models import read_model
from pipelines.storage.store import Store, open_store
from tagger import schema
from tagger.card import BUNDLED, ModelFiles
from tagger.errors import OptionError

MOST_BYTES: Final = 19e6  # of a page that is one file, and is to stay below 20 MB

_VIEWS: Final = "current_tags current_timeline current_embeddings open_failures top_tags"
HAS_NOVELTY: Final = "novelty" in schema.tables("float32")["clips"].names


@dataclass(frozen=True)
class Reported:
    """A page that was written.

    Attributes
    ----------
    page : its path or URI
    n_shown : clips in its galleries
    n_problems : those of them that have neither picture nor sound
    n_left_out : clips that did not fit into one file
    """

    page: str
    n_bytes: int
    n_shown: int
    n_problems: int
    n_left_out: int


def report(job: ReportJob) -> Reported:
    """Write the page.

    Raises
    ------
    CommandError : no output; no such model, run, tag or clip; no place for the page
    AccessDenied, StoreUnavailable : the store of the tables, or of the page, gave out
    """
    store = open_store(job.tables, job.store_patience_s)
    place = Place(job)
    model_id, model = _model(store, job)
    with asking(store, _VIEWS, model_id) as ask:
        history = RunHistory(store)
        _require_runs(history, job.run)
        limit = novelty_limit(model)
        figures = overview(ask, history, job.run, limit)
        tags = job.tag or [tag.tag for tag in figures.tags]
        chosen = gallery.choose(ask, scope_of(job.run), tags, job.n_each)
        _require_tags(job.tag, chosen, figures)
        entries = _entries(ask, chosen, model)
    kept = _that_fit(entries) if job.is_one_file else entries
    access = Access(job.input_limits, job.store_patience_s, origins=frozenset())
    with (
        closing(Listener(job.limits, access)) as listener,
        Progress("drawing", "clips", len(kept)) as progress,
    ):
        shown = []
        for one in show(kept, listener, place.keep, limit):
            shown.append(one)
            progress.show(len(shown))
    shown.sort(key=lambda one: one.number)
    text = _html(job, store, figures, list(chosen), shown, len(entries) - len(kept))
    place.write(text)
    problems = sum(bool(one.problem) for one in shown)
    return Reported(place.page, len(text.encode()), len(shown), problems, len(entries) - len(kept))


def novelty_limit(model: ModelFiles | None) -> float | None:
    """Beyond which a clip is none of the model's tags; None where the model tells none."""
    found = getattr(model.card, "novelty", None) if model is not None else None
    return float(found.limit) if found is not None and HAS_NOVELTY else None


def _entries(ask: Ask, chosen: Mapping[str, list[Chosen]], model: ModelFiles | None) -> list[Entry]:
    """The clips that were chosen, with what the tables say of them, the first to keep first."""
    ordered = gallery.in_rounds(chosen.values())
    clip_ids = list(dict.fromkeys(one.clip_id for one in ordered))
    details = gallery.details(ask, clip_ids, HAS_NOVELTY)
    moments = dict(around_the_best(ask, clip_ids, chosen, gallery.EXCERPT_S))
    with_some = {clip_id for clip_id, _ in moments}
    short = [
        clip_id
        for clip_id, row in details.items()
        if clip_id not in with_some and row["n_segments"] <= MOST_SEGMENTS
    ]
    if model is not None and short:
        moments |= computed(ask, short, model)
    return gallery.entries(ordered, details, moments)


def _that_fit(entries: Sequence[Entry]) -> list[Entry]:
    """The first clips, as many as a page may hold that is one file."""
    n_bytes, fit = 0.0, []
    for entry in entries:
        n_bytes += cost_bytes(entry)
        if n_bytes > MOST_BYTES:
            break
        fit.append(entry)
    return fit


def _model(store: Store, job: ReportJob) -> tuple[str | None, ModelFiles | None]:
    """The model that the page is of, None for the one that tagged last, and its files."""
    known = {path.split("/")[1].removeprefix("model=") for path in store.list("clips")}
    named = job.model if job.model is not None and job.model not in known else str(BUNDLED)
    model = read_model(named, job.store_patience_s)
    model_id = model.card.model_id
    if job.model in known:
        return job.model, model if job.model == model_id else None
    if job.model is not None and model_id not in known:
        there_are = ", ".join(sorted(known)) or "no model's"
        raise OptionError(
            "model", f"made no tables of {store.root}: {model_id}; there are {there_are}"
        )
    if job.model is None and known != {model_id}:
        return None, None
    return model_id if known else None, model


def _require_runs(history: RunHistory, runs: Sequence[str]) -> None:
    known = {run["run_id"] for run in history} if runs else set()
    for run in runs:
        if run not in known:
            raise OptionError("run", f"names no run of these tables: {run}; status lists them")


def _require_tags(tags: Sequence[str], chosen: Mapping[str, object], figures: Overview) -> None:
    for tag in tags:
        if tag not in chosen:
            close = difflib.get_close_matches(tag, [one.tag for one in figures.tags], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise OptionError("tag", f"is a tag that no clip has first: {tag}{hint}")


def _html(
    job: ReportJob,
    store: Store,
    figures: Overview,
    tags: Sequence[str],
    shown: Sequence[Shown],
    n_left_out: int,
) -> str:
    galleries = [_gallery(tag, [one for one in shown if one.entry.tag == tag]) for tag in tags]
    galleries = [one for one in galleries if one["kinds"]]
    labels = [tag.tag for tag in figures.tags if visible(tag.tag) == tag.tag]
    return page.render(
        "gallery.html",
        ("player.js", "answers.js"),
        job.is_one_file,
        root=store.root,
        model_id=figures.model_id or "none yet",
        made_at=datetime.now(UTC),
        figures=figures,
        has_heard=any(tag.heard_s for tag in figures.tags),
        of_runs=job.run,
        runs=[run | {"stages": _stages(run)} for run in map(dict, figures.runs)],
        galleries=galleries,
        anchors={gallery["tag"]: f"tag-{i}" for i, gallery in enumerate(galleries)},
        n_left_out=n_left_out,
        labels=sorted(labels),
        data=data_of(store, figures.model_id, [one.entry for one in shown]),
    )


def _gallery(tag: str, shown: Sequence[Shown]) -> dict[str, Any]:
    kinds = [
        (title, [one for one in shown if one.entry.kind == kind]) for kind, title in KINDS.items()
    ]
    return {"tag": tag, "kinds": [(title, cards) for title, cards in kinds if cards]}


def _stages(run: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Where the time of a run went: stage, seconds, per cent."""
    seconds = {str(what): float(s) for what, s in (run.get("seconds") or {}).items()}
    total = sum(seconds.values()) or 1.0
    return [(what, s, 100 * s / total) for what, s in sorted(seconds.items(), key=lambda i: -i[1])]


def data_of(store: Store, model_id: str | None, entries: Sequence[Entry]) -> dict[str, Any]:
    """What the scripts of a page know."""
    sums = [sum(score for _, score in entry.tags) for entry in entries]
    return {
        "key": f"corrections {store.root} {model_id}",
        "model_id": model_id,
        "file": f"corrections-{model_id}.csv",
        "several": max(sums, default=0.0) > 1.001,  # scores of labels that exclude no other
        "entries": [
            {
                "clip_id": entry.clip.clip_id,
                "uri": entry.clip.uri,
                "tag": entry.tag,
                "score": round(entry.score, 6),
                "tags": [[tag, round(score, 6)] for tag, score in entry.tags],
            }
            for entry in entries
        ],
    }
