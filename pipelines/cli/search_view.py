"""What ``search`` shows of its answers, or writes to a file."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipelines.cli.terminal import show_json, show_lines
from pipelines.storage.errors import AccessDenied
from pipelines.storage.uris import is_local, local_path


def show_answers(answers: pa.Table, as_json: bool) -> None:
    """The answers, best first."""
    rows = answers.to_pylist()
    if as_json:
        show_json(rows)
    else:
        show_lines(map(_line, rows) if rows else ["nothing found"])


def _line(row: dict[str, Any]) -> str:
    name = local_path(row["uri"]) if is_local(row["uri"]) else row["uri"]
    span = f"{row['start_s']:.2f} to {row['end_s']:.2f} s"
    return f"{row['score']:.3f}  {span:<22}{name}"


def write_answers(answers: pa.Table, path: Path) -> None:
    """The answers as a file of the kind that its suffix names."""
    try:
        with path.open("wb") as file:
            match path.suffix.lower():
                case ".parquet":
                    pq.write_table(answers, file)
                case ".csv":
                    pyarrow.csv.write_csv(answers, file)
                case _:
                    text = json.dumps(answers.to_pylist(), indent=2, ensure_ascii=False)
                    file.write(text.encode() + b"\n")
    except OSError as error:
        raise AccessDenied(f"{path} cannot be written: {error}") from error
