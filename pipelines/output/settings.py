"""What is fixed for an output as a whole: ``_output.json``."""

import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Self

from pipelines.output import layout
from pipelines.output.damage import DamagedFile, reading, rebuild, seal, unseal
from pipelines.output.inventory import has_rows
from pipelines.storage.store import Store
from tagger.calibration import CARD, Threshold
from tagger.errors import CommandError
from tagger.events import EVENT_GAP_S, EVENT_THRESHOLD
from tagger.schema import SCHEMA_VERSION, tables


@dataclass(frozen=True)
class Settings:
    """What all runs of an output share.

    Parameters
    ----------
    tables : names of the tables that are written
    top_k : most tags per clip
    threshold : least score of a tag; "card": for each label that on the card of the model
    embedding_dtype : "float32" or "float16"
    front_end : names the way from bytes to patches and its constants
    track : which audio tracks are tagged
    least_bags : bags that a clip has at least to be in the timeline
    event_threshold, event_gap_s : what makes an event; the former as ``threshold``
    precision : "bfloat16" where that was asked for, else "default"; None where none was kept
    """

    tables: tuple[str, ...]
    top_k: int
    threshold: Threshold
    embedding_dtype: str
    front_end: str
    track: str = "default"  # as in outputs that do not say
    least_bags: int = 1
    event_threshold: Threshold = EVENT_THRESHOLD
    event_gap_s: float = EVENT_GAP_S
    precision: str | None = None

    def on(self, pinned: "Settings", left_out: Collection[str] = ()) -> "Settings":
        """These settings, upon an output that has been begun.

        One that was begun before there were events goes on without them; and without a timeline,
        unless one is asked for. One that keeps no precision takes any.

        Parameters
        ----------
        left_out : names of settings that nobody asked for; the output keeps its own
        """
        if pinned.precision is None:
            left_out = {*left_out, "precision"}
        kept = replace(self, **{name: getattr(pinned, name) for name in left_out})
        return kept if "events" in pinned.tables else kept._without_events(pinned)

    def _without_events(self, pinned: "Settings") -> "Settings":
        left_out = {"events"}
        if "timeline" not in pinned.tables and self.least_bags > 1:
            left_out.add("timeline")
        return replace(
            self,
            tables=tuple(name for name in self.tables if name not in left_out),
            least_bags=pinned.least_bags if "timeline" in left_out else self.least_bags,
            event_threshold=pinned.event_threshold,
            event_gap_s=pinned.event_gap_s,
        )

    def to_json(self) -> bytes:
        return seal({"schema_version": SCHEMA_VERSION, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Decode; what is no settings raises ValueError, TypeError or KeyError."""
        fields = unseal(data)
        if fields.pop("schema_version") > SCHEMA_VERSION:
            raise CommandError("the output was written by a newer version: update this one")
        return cls(**{**fields, "tables": tuple(fields["tables"])})


def open_output(store: Store, settings: Settings, left_out: Collection[str] = ()) -> None:
    """Make sure that jobs with these settings may write here; pins them in a new output.

    Parameters
    ----------
    left_out : names of settings that nobody asked for; an output keeps its own

    Raises
    ------
    CommandError : pinned otherwise, written by a newer version, damaged, or gone from an output
        that has rows; no such bucket, or a store on which creating a file does not fail when it
        exists
    AccessDenied, StoreUnavailable : from the store
    """
    try:
        _probe(store)
    except FileNotFoundError as error:
        raise CommandError(f"{store.root}: no such bucket: create it first") from error
    if not store.exists(layout.SETTINGS) and has_rows(store):
        read_settings(store)  # another job may have begun the output meanwhile
    if not store.create(layout.SETTINGS, settings.to_json()):
        check_settings(store, settings, left_out)
        mark_version(store)
    store.sweep()


def precision_kept(asked: str | None) -> str:
    """What an output keeps of the precision that was asked for."""
    return "bfloat16" if asked == "bfloat16" else "default"


def mark_version(store: Store) -> None:
    """Have earlier versions refuse an output that files of this schema come into.

    Raises CommandError as ``read_settings`` does.
    """
    settings = read_settings(store)
    if unseal(store.read(layout.SETTINGS))["schema_version"] < SCHEMA_VERSION:
        store.write(layout.SETTINGS, settings.to_json())


def complete(store: Store) -> Settings:
    """Have an output that was begun before there were events hold them, and a timeline.

    Raises CommandError as ``read_settings`` does.
    """
    settings = read_settings(store)
    if "events" in settings.tables:
        mark_version(store)
        return settings
    wanted = {*settings.tables, "events", "timeline"}
    settings = replace(
        settings,
        tables=tuple(name for name in tables(settings.embedding_dtype) if name in wanted),
        least_bags=settings.least_bags if "timeline" in settings.tables else 2,
    )
    store.write(layout.SETTINGS, settings.to_json())
    return settings


def check_settings(store: Store, settings: Settings, left_out: Collection[str] = ()) -> None:
    """CommandError where the output was begun with other settings, or by a newer version.

    Parameters are those of ``open_output``.
    """
    pinned = read_settings(store)
    begun, asked = _flags(pinned), _flags(settings.on(pinned, left_out))
    differ = [name for name in begun if begun[name] != asked[name]]
    if differ:
        first, second = (", ".join(flags[name] for name in differ) for flags in (begun, asked))
        raise CommandError(
            f"{store.root} was begun with other settings: {first} (now: {second}); give those it "
            "was begun with, or another --out"
        )
    if settings.front_end != pinned.front_end:
        raise CommandError(
            f"{store.root} was begun by a version with another front end, whose embeddings differ: "
            "give another --out"
        )


def _flags(settings: Settings) -> dict[str, str]:
    """Each setting as a command line says it."""
    tables = settings.tables
    has_all_bags = settings.least_bags == 1 and "timeline" in tables
    return {
        "embeddings": f"{'not ' if 'embeddings' in tables else ''}--no-embeddings",
        "embedding_dtype": f"--embedding-dtype {settings.embedding_dtype}",
        "timeline": f"{'' if has_all_bags else 'not '}--timeline",
        "top_k": f"--top-k {settings.top_k}",
        "threshold": f"--threshold {_said(settings.threshold)}",
        "track": f"--track {settings.track}",
        "event_threshold": f"--event-threshold {_said(settings.event_threshold)}",
        "event_gap_s": f"--event-gap {settings.event_gap_s:g}",
        "precision": f"{'' if settings.precision == 'bfloat16' else 'not '}--precision bfloat16",
    }


def _said(threshold: Threshold) -> str:
    return threshold if threshold == CARD else f"{threshold:g}"


def read_settings(store: Store) -> Settings:
    """Read what ``open_output`` pinned.

    Raises
    ------
    CommandError : that never happened
    DamagedFile : it was changed, or is gone from an output that has rows
    """
    try:
        data = store.read(layout.SETTINGS)
    except FileNotFoundError as error:
        if has_rows(store):
            raise DamagedFile(store.root, layout.SETTINGS, "is missing", rebuild(store)) from error
        raise CommandError(f"{store.root} holds no output of this program") from error
    with reading(store, layout.SETTINGS, "file of settings", rebuild(store)):
        return Settings.from_json(data)


def _probe(store: Store) -> None:
    """Refuse a store whose create-if-absent overwrites: two jobs would undo each other."""
    path = layout.probe(uuid.uuid4().hex)
    try:
        if not store.create(path, b"first") or store.create(path, b"second"):
            raise CommandError(
                f"{store.root}: this store cannot create a file only if it is absent "
                "(S3: If-None-Match), which keeps the tables right: give another output"
            )
    finally:
        store.remove([path])
