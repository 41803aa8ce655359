"""What lies in an output, by name: its models and their table files."""

from collections import defaultdict

from pipelines.output import layout
from pipelines.storage.store import Store
from tagger import schema


def models(store: Store) -> list[str]:
    """The models of which anything is here, be it tables that no log tells of."""
    return sorted(models_begun(store) | table_files_by_model(store).keys())


def models_begun(store: Store) -> set[str]:
    """The models that have a log, staged or rewritten rows, or a lock."""
    folders = (layout.LOGS, layout.STAGING, layout.REWRITING, layout.LOCKS)
    return {model_id for folder in folders for model_id in layout.models_below(store.list(folder))}


def has_rows(store: Store) -> bool:
    """Whether an output has a log, or tables."""
    return any(store.list(folder) for folder in (layout.LOGS, *schema.tables("float32")))


def strangers(store: Store) -> list[str]:
    """Files that lie among the logs and belong to none."""
    return [path for path in store.list(layout.LOGS) if path.count("/") < 2]


def table_files(store: Store, model_id: str) -> list[str]:
    """The paths of all table files of a model."""
    folders = (layout.model_tables(table, model_id) for table in schema.tables("float32"))
    return [path for folder in folders for path in store.list(folder) if layout.is_table_file(path)]


def table_files_by_model(store: Store) -> dict[str, list[str]]:
    """The paths of all table files of all models."""
    found: dict[str, list[str]] = defaultdict(list)
    for table in schema.tables("float32"):
        for path in filter(layout.is_table_file, store.list(table)):
            found[layout.model_of_table(path)].append(path)
    return found
