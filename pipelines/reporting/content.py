"""What the two kinds of page show: the clips of an output, and one recording."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.reporting import page
from pipelines.reporting.gallery import KINDS, Tag
from pipelines.reporting.hearing import Clip
from pipelines.reporting.overview import Overview
from pipelines.reporting.recording import Recording
from pipelines.reporting.show import Shown
from pipelines.runtime.visible import visible
from tagger.labels import Labelling


def gallery_page(
    figures: Overview,
    shown: Sequence[Shown],
    tags: Sequence[str],
    **more: Any,
) -> str:
    """The page of an output.

    Parameters
    ----------
    shown : the clips of all galleries
    tags : that may have a gallery, in order
    more : ``root``, ``is_one_file``, ``labelling``, ``of_runs``, ``n_left_out``
    """
    galleries = [_gallery(tag, [one for one in shown if one.entry.tag == tag]) for tag in tags]
    galleries = [one for one in galleries if one["kinds"]]
    entries = [(one.entry.clip, one.entry.tag, one.entry.score, one.entry.tags) for one in shown]
    return _page(
        "gallery.html",
        ("player.js", "answers.js"),
        figures.model_id,
        entries,
        [tag.tag for tag in figures.tags],
        figures=figures,
        has_heard=any(tag.heard_s for tag in figures.tags),
        runs=[run | {"stages": _stages(run)} for run in map(dict, figures.runs)],
        galleries=galleries,
        anchors={gallery["tag"]: f"tag-{i}" for i, gallery in enumerate(galleries)},
        **more,
    )


def recording_page(recording: Recording, labels: Sequence[str], **more: Any) -> str:
    """The page of one recording.

    Parameters
    ----------
    labels : the tags of the output
    more : ``root``, ``is_one_file``, ``labelling``
    """
    entries = [(recording.clip, tag, score, recording.tags) for tag, score in recording.tags[:1]]
    return _page(
        "recording.html",
        ("recording.js", *(["answers.js"] if entries else [])),
        recording.facts["model_id"],
        entries,
        labels,
        stretches=[stretch._asdict() for stretch in recording.stretches],
        recording=recording,
        **more,
    )


def _page(
    template: str,
    scripts: tuple[str, ...],
    model_id: str | None,
    entries: Sequence[tuple[Clip, str, float, Sequence[Tag]]],
    labels: Sequence[str],
    stretches: Sequence[Mapping[str, Any]] = (),
    *,
    labelling: Labelling | None,
    **more: Any,
) -> str:
    model_id = model_id or "none yet"
    data = {
        "key": f"corrections {more['root']} {model_id}",
        "model_id": model_id,
        "file": f"corrections-{model_id}.csv",
        "several": labelling == "several",
        "stretches": stretches,
        "entries": [
            {
                "clip_id": clip.clip_id,
                "uri": clip.uri,
                "tag": tag,
                "score": round(score, 6),
                "tags": [[other, round(its, 6)] for other, its in tags],
            }
            for clip, tag, score, tags in entries
        ],
    }
    return page.render(
        template,
        scripts,
        model_id=model_id,
        made_at=datetime.now(UTC),
        labels=sorted(label for label in labels if visible(label) == label),
        data=data,
        **more,
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
