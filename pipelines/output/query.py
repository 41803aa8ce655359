"""Questions to an output in DuckDB's SQL, by the views of ``views.sql``, wherever it lies.

The database is in memory and knows the output's tables alone: no other file, no network, no
extension, and of statements only those that read.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import pyarrow as pa

from pipelines.output import layout
from pipelines.output.table_reader import ROOT, TableReader
from pipelines.output.views import TABLES, quoted, views_sql
from pipelines.storage.store import Store
from tagger.errors import CommandError, OptionError

ROWS_AT_ONCE: Final = 10_000

_CLOSED: Final = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # names of Python variables are no tables
}


Ask = Callable[[str], pa.RecordBatchReader]
"""Gives the rows that answer one question; they are read before the next is asked."""


@contextmanager
def answer(store: Store, sql: str, model: str | None = None) -> Iterator[pa.RecordBatchReader]:
    """Give the rows that answer one question.

    Parameters
    ----------
    sql : one statement that reads, such as SELECT
    model : model_id that the views of one model are of; None: the one that tagged last

    Raises
    ------
    CommandError : no output, no such model, or a statement that is not right or does not read;
        also while rows are read
    AccessDenied, StoreUnavailable : from the store; likewise
    """
    with asking(store, sql, model) as ask:
        yield ask(sql)


@contextmanager
def asking(store: Store, named_in: str, model: str | None = None) -> Iterator[Ask]:
    """Give what answers questions, all of them from the tables as they are now.

    Parameters
    ----------
    named_in : a text with the names of all views that will be asked
    model : as of ``answer``, which says too what is raised
    """
    reader = TableReader(store, TABLES)
    with_files = [table for table in TABLES if reader.files[table]]
    if not with_files and not store.exists(layout.SETTINGS):
        raise CommandError(f"{store.root} holds no output of this program")
    with (
        tempfile.TemporaryDirectory() as overflow,
        duckdb.connect(config={**_CLOSED}) as database,
        _plain_errors(reader),
    ):
        database.register_filesystem(reader)
        database.execute("SET parquet_metadata_cache = true")  # for views upon views
        database.execute(views_sql(ROOT, with_files, named_in=named_in))
        _choose(database, reader, model)
        database.execute(_lock(overflow))
        yield lambda sql: database.sql(_reading(database, sql)).to_arrow_reader(ROWS_AT_ONCE)


def _choose(database: Any, reader: TableReader, model: str | None) -> None:
    """Have the views of one model be of ``model``, where one is named."""
    if model is None:
        return
    known = {layout.model_of_table(path) for paths in reader.files.values() for path in paths}
    if model not in known:
        there_are = f"there are {', '.join(sorted(known))}" if known else "there is none"
        raise OptionError("model", f"names no model of this output: {there_are}")
    database.execute(f"SET VARIABLE model = '{quoted(model)}'")


def _lock(overflow: str) -> str:
    """Statements after which nothing but the tables can be reached, and no setting be changed.

    Parameters
    ----------
    overflow : folder for what a question does not hold in memory
    """
    folders = ", ".join(f"'{ROOT}/{table}/'" for table in TABLES)
    return f"""
        SET TimeZone = 'UTC'; SET temp_directory = '{quoted(overflow)}';
        SET allowed_directories = [{folders}]; SET enable_external_access = false;
        SET lock_configuration = true"""


def _reading(database: Any, sql: str) -> str:
    """The one statement of ``sql``, which must be one that reads."""
    statements = database.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise CommandError("a question is one SELECT; nothing else is carried out here")
    text: str = statements[0].query
    return text


@contextmanager
def _plain_errors(reader: TableReader) -> Iterator[None]:
    """What DuckDB refuses is the question's mistake, unless the store was the cause."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        if isinstance(reader.failure, FileNotFoundError):
            raise CommandError(
                f"{reader.store.root}: table files were exchanged meanwhile, as compact and forget "
                "do: ask again"
            ) from error
        if reader.failure is not None:
            raise reader.failure from error
        said = str(error).partition("\n\nLINE ")[0].replace(ROOT, reader.store.root)
        raise CommandError(f"SQL: {' '.join(said.split())}") from error
