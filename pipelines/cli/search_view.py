"""What ``search`` shows of its answers, or writes to a file."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipelines.cli.terminal import show_text, visible
from pipelines.storage.errors import AccessDenied
from pipelines.storage.uris import is_local, local_path


def show_answers(answers: pa.Table, as_json: bool) -> None:
    """The answers, best first."""
    rows = answers.to_pylist()
    if as_json:
        show_text(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        name = local_path(row["uri"]) if is_local(row["uri"]) else row["uri"]
        span = f"{row['start_s']:.2f} to {row['end_s']:.2f} s"
        show_text(f"{row['score']:.3f}  {span:<22}{visible(name)}")
    if not rows:
        show_text("nothing found")


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
