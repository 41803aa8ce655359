"""What lies in an output, by name: its models and their table files."""

from collections import defaultdict

from pipelines.output import layout
from pipelines.storage.store import Store
from tagger import schema


def models(store: Store) -> list[str]:
    """The models of which anything is here: tables, a log, staged or rewritten rows, a lock."""
    found = {layout.model_of_table(path) for path in _tables(store)}
    for folder in (layout.LOGS, layout.STAGING, layout.REWRITING, layout.LOCKS):
        found |= layout.models_below(store.list(folder))
    return sorted(found)


def table_files(store: Store, model_id: str) -> list[str]:
    """The paths of all table files of a model."""
    folders = (layout.model_tables(table, model_id) for table in schema.tables("float32"))
    return [path for folder in folders for path in store.list(folder) if _is_table(path)]


def table_files_by_model(store: Store) -> dict[str, list[str]]:
    """The paths of all table files of all models."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in _tables(store):
        found[layout.model_of_table(path)].append(path)
    return found


def _tables(store: Store) -> list[str]:
    tables = schema.tables("float32")
    return [path for table in tables for path in store.list(table) if _is_table(path)]


def _is_table(path: str) -> bool:
    return path.endswith(".parquet")
