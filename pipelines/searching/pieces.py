"""The table ``embeddings`` divided into pieces of work, counted against the log."""

from functools import partial
from typing import Final

import pyarrow.parquet as pq

from pipelines.output import layout
from pipelines.output.markers import read_marker
from pipelines.searching.parquet_rows import read_parquet
from pipelines.searching.scan import Piece
from pipelines.searching.table_files import TableFiles
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import Store

PIECE_ROWS: Final = 1 << 18  # about half a second of a core


def pieces_of(files: TableFiles) -> list[Piece]:
    """All row groups of the embeddings, in pieces of ``PIECE_ROWS`` or of one larger row group.

    Raises
    ------
    FileNotFoundError : the log counts more rows than there are, or fewer
    """
    found: list[Piece] = []
    groups: dict[str, list[int]] = {}
    n_rows = 0
    for path, sizes in row_groups(files, "embeddings").items():
        for group, size in enumerate(sizes):
            if n_rows and n_rows + size > PIECE_ROWS:
                found.append(_piece(files, groups, n_rows))
                groups, n_rows = {}, 0
            groups.setdefault(path, []).append(group)
            n_rows += size
    return [*found, _piece(files, groups, n_rows)] if n_rows else found


def row_groups(files: TableFiles, table: str) -> dict[str, list[int]]:
    """Rows of each row group of each file of a table, from the footers.

    Raises
    ------
    FileNotFoundError : the log counts more rows than there are, or fewer
    """
    paths = files.paths(table)
    sizes = in_parallel(partial(_group_sizes, files.store), paths)
    n_rows, n_logged = sum(map(sum, sizes)), n_rows_logged(files, table)
    if n_rows != n_logged:
        raise FileNotFoundError(f"{table}: {n_rows:,} rows, where the log counts {n_logged:,}")
    return dict(zip(paths, sizes, strict=True))


def n_rows_logged(files: TableFiles, table: str) -> int:
    """Rows that a table has by the markers of its entries."""
    read = partial(read_marker, files.store, files.model_id)
    markers = in_parallel(read, files.entries)
    if None in markers:
        raise FileNotFoundError("an entry of the log was replaced")
    return sum(marker.rows.get(table, 0) for marker in markers if marker is not None)


def _group_sizes(store: Store, path: str) -> list[int]:
    def sizes(file: pq.ParquetFile) -> list[int]:
        return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]

    return read_parquet(store, path, sizes)


def _piece(files: TableFiles, groups: dict[str, list[int]], n_rows: int) -> Piece:
    entries = {layout.TableFile.parse(path).entry for path in groups}
    of_files = tuple((path, tuple(numbers)) for path, numbers in groups.items())
    return Piece(of_files, tuple(files.paths("tags", entries)), n_rows)
