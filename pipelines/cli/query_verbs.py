"""The verbs that ask an output: ``query`` and ``export``."""

from dataclasses import dataclass, field
from typing import Literal

from pipelines.cli.exit_codes import Exit
from pipelines.cli.verb import Verb
from pipelines.exporting.jobs import ExportJob

AnswerFormat = Literal["table", "csv", "json"]


@dataclass(frozen=True, kw_only=True)
class Query(Verb):
    """Ask the tables of an output a question in SQL.

    Needs the output of tag, wherever it was moved or copied to; nothing else has to be installed.

    Leaves it as it is: one SELECT is carried out, which sees the tables and nothing beside them.
    The SQL is DuckDB's. SHOW TABLES names the views; docs/tables.md says what is in them.

    Example::

        python -m pipelines query tables/ "SELECT tag, count(*) FROM top_tags GROUP BY tag"
    """

    out: str = field(metadata={"positional": True})
    """Folder or s3:// prefix of the tables."""

    sql: str = field(metadata={"positional": True})
    """The question, in quotation marks."""

    model: str | None = field(default=None, metadata={"metavar": "NAME"})
    """Model that top_tags and the other views of one model are of, by the name that the column
    model_id has. Left out: the one that tagged last."""

    format: AnswerFormat = "table"
    """How the answer is written: as a table of its first 1,000 rows for people, or all of it as csv
    or json. In table and csv, letters of names that cannot be seen are written as \\x1b and the
    like; json has them as they are."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli.answers import SHOW
        from pipelines.output.query import answer
        from pipelines.storage.store import open_store

        with answer(open_store(self.out), self.sql, self.model) as rows:
            SHOW[self.format](rows)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Export(Verb):
    """Write the events of an output as label files for Audacity, Raven, Praat, players, tables.

    Needs the output of tag.

    Leaves a file for each recording that has events, named as the recording, in the folders in
    which the recordings lie below the one that holds them all; or one CSV file.

    Example::

        python -m pipelines export tables/ --format audacity --to labels --tag Dog_bark
    """

    job: ExportJob

    json: bool = False
    """Write what was done to standard output as JSON."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import terminal
        from pipelines.exporting.export import export

        terminal.show_exported(export(self.job), self.job.to, self.json)
        return Exit.DONE
