"""``report`` from what the command names to a page that is written."""

import difflib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

from pipelines.inputs.access import Access
from pipelines.output import layout
from pipelines.output.query import Ask, asking
from pipelines.output.run_history import RunHistory
from pipelines.output.settings import read_settings
from pipelines.reporting import gallery
from pipelines.reporting.content import gallery_page, recording_page
from pipelines.reporting.gallery import Chosen, Entry
from pipelines.reporting.hearing import Listener
from pipelines.reporting.job import ReportJob
from pipelines.reporting.moments import MOST_SEGMENTS, around_the_best, computed, rows
from pipelines.reporting.overview import overview, scope_of
from pipelines.reporting.place import Place
from pipelines.reporting.recording import ask_for, look
from pipelines.reporting.show import Shown, cost_bytes, show
from pipelines.runtime.progress import Progress
from pipelines.storage.models import read_model
from pipelines.storage.store import Store, open_store
from tagger.card import BUNDLED, ModelFiles
from tagger.errors import OptionError

MOST_BYTES: Final = 19e6  # of the clips of a page that is one file and stays below 20 MB

_VIEWS: Final = (
    "current_tags current_timeline current_events current_embeddings open_failures top_tags"
)


@dataclass(frozen=True)
class Reported:
    """A page that was written.

    Attributes
    ----------
    page : its path or URI
    n_shown : clips that are on it
    n_problems : those of them that have neither picture nor sound
    n_left_out : clips that did not fit into one file
    n_bytes : of the HTML
    """

    page: str
    n_shown: int
    n_problems: int
    n_left_out: int = 0
    n_bytes: int = 0


def report(job: ReportJob) -> Reported:
    """Write the page.

    Raises
    ------
    CommandError : no output; no such model, run, tag or clip; no place for the page
    AccessDenied, StoreUnavailable : the store of the tables, or of the page, gave out
    """
    store = open_store(job.tables, job.store_patience_s)
    place = Place(job)
    access = Access(job.input_limits, job.store_patience_s, origins=frozenset())
    with closing(Listener(job.limits, access, _track(store))) as listener:
        make = _of_an_output if job.clip is None else _of_one_recording
        text, done = make(job, store, place, listener)
    place.write(text)
    return replace(done, n_bytes=len(text.encode()))


def _track(store: Store) -> int | None:
    """The number of the audio track that the output is of; None where it is the default, or all."""
    track = read_settings(store).track if store.exists(layout.SETTINGS) else ""
    return int(track) if track.isdigit() else None


def _of_an_output(
    job: ReportJob, store: Store, place: Place, listener: Listener
) -> tuple[str, Reported]:
    model_id, model = _model(store, job)
    with asking(store, _VIEWS, model_id) as ask:
        history = RunHistory(store)
        _require_runs(history, job.run)
        figures = overview(ask, history, job.run)
        _require_tags(ask, job.tag)
        tags = job.tag or [tag.tag for tag in figures.tags]
        chosen = gallery.choose(ask, scope_of(job.run), tags, job.n_each, bool(job.tag))
        entries = _entries(ask, chosen, model)
    kept = _that_fit(entries) if job.is_one_file else entries
    shown: list[Shown] = []
    with Progress("drawing", "clips", len(kept)) as progress:
        for one in show(kept, listener, place.keep):
            shown.append(one)
            progress.show(len(shown))
    shown.sort(key=lambda one: one.number)
    n_left_out = len(entries) - len(kept)
    text = gallery_page(
        figures,
        shown,
        list(chosen),
        root=store.root,
        is_one_file=job.is_one_file,
        labelling=model.card.labelling if model is not None else None,
        of_runs=job.run,
        n_left_out=n_left_out,
    )
    return text, Reported(
        place.page, len(shown), sum(bool(one.problem) for one in shown), n_left_out
    )


def _of_one_recording(
    job: ReportJob, store: Store, place: Place, listener: Listener
) -> tuple[str, Reported]:
    assert job.clip is not None
    model_id, model = _model(store, job)
    with asking(store, _VIEWS, model_id) as ask:
        told = ask_for(ask, job.clip, model)
        labels = _tags(ask)
    recording = look(told, listener, place.keep, job.is_one_file)
    text = recording_page(
        recording,
        labels,
        root=store.root,
        is_one_file=job.is_one_file,
        labelling=model.card.labelling if model is not None else None,
    )
    return text, Reported(place.page, 1, int(bool(recording.problem)))


def _entries(ask: Ask, chosen: Mapping[str, list[Chosen]], model: ModelFiles | None) -> list[Entry]:
    """The clips that were chosen, with what the tables say of them, the first to keep first."""
    ordered = gallery.in_rounds(chosen.values())
    clip_ids = list(dict.fromkeys(one.clip_id for one in ordered))
    details = gallery.details(ask, clip_ids)
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


def _tags(ask: Ask) -> list[str]:
    return [row["tag"] for row in rows(ask, "SELECT DISTINCT tag FROM current_tags")]


def _require_tags(ask: Ask, tags: Sequence[str]) -> None:
    known = _tags(ask) if tags else []
    for tag in tags:
        if tag not in known:
            close = difflib.get_close_matches(tag, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise OptionError("tag", f"is a tag that no clip has: {tag}{hint}")
