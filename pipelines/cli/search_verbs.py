"""The verb that searches: ``search``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipelines.cli.exit_codes import Exit
from pipelines.cli.verb import Verb
from pipelines.searching.job import SearchJob
from tagger.errors import OptionError

FORMATS: Final = (".csv", ".json", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Search(Verb):
    """Find what sounds like a recording, or like a clip of the tables.

    Needs the output of tag, with its embeddings; for a recording that is not in it also the model.
    Every segment is compared. Less than about a minute of work, some ten million segments, is done
    in this process, more on Ray.

    Leaves the tables as they are, and shows the segments of 0.96 s that are most like it: uri,
    where they begin and end, and a score, the cosine of the embeddings, 1 for the same. What was
    asked with is no answer.

    Example::

        python -m pipelines search rooster.wav --tables s3://tables --per-clip --top 10
    """

    job: SearchJob

    out: str | None = field(default=None, metadata={"metavar": "FILE"})
    """Write the answers to this file: a .csv, .json or .parquet."""

    json: bool = False
    """Write the answers to standard output as JSON: a list of objects with uri, start_s, end_s and
    score."""

    def __post_init__(self) -> None:
        if self.out is None:
            return
        if self.json:
            raise OptionError("json", "does not go with --out")
        path = Path(self.out)
        if path.suffix.lower() not in FORMATS:
            raise OptionError("out", f"must end in one of {', '.join(FORMATS)}")
        if not path.parent.is_dir():
            raise OptionError("out", f"lies in {path.parent}, which is no folder")

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import search_view
        from pipelines.searching.run import find

        answers = find(self.job)
        if self.out is not None:
            search_view.write_answers(answers, Path(self.out))
        else:
            search_view.show_answers(answers, self.json)
        return Exit.DONE
