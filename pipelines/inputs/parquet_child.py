"""A Parquet manifest to lines of JSON, in a process that has little memory and no secrets.

A few kilobytes of Parquet may unfold to gigabytes within the library that reads them, whatever the
file's own numbers say. Here that ends this process. It is run by its path, imports nothing of ours,
reads the file from its standard input, and writes a line for the names of the columns, then
``[name, further columns as JSON]`` for each row.
"""

import json
import math
import os
import resource
import sys
from typing import Any

ROWS = 64  # at a time: of a megabyte each they need some hundreds
NOT_UTF8 = '"not UTF-8"'
NO_MEMORY = 3


def emit(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main(memory_bytes: int, cpu_s: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    pa.set_memory_pool(pa.system_memory_pool())
    with os.fdopen(0, "rb") as source, pq.ParquetFile(source, buffer_size=1 << 20) as file:
        emit(json.dumps(file.schema_arrow.names))
        if file.schema_arrow.names.count("uri") != 1:
            return
        for batch in file.iter_batches(ROWS, use_threads=False) if file.metadata.num_rows else ():
            further = batch.drop_columns(["uri"])
            try:
                names = [_text(name) for name in batch["uri"].to_pylist()]
                rows = further.to_pylist() if further.num_columns else [None] * len(names)
            except UnicodeDecodeError:
                emit(NOT_UTF8)
                return
            for name, row in zip(names, rows, strict=True):
                extra = row and json.dumps(_finite(row), ensure_ascii=False, default=str)
                emit(json.dumps([name, extra]))


def _text(name: Any) -> str:
    """The text of an entry; bytes that are no UTF-8 are escaped in it."""
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name or "")


def _finite(value: Any) -> Any:
    """The value with null for NaN and infinity, at any depth: JSON has neither."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    code = 1
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
        sys.stdout.flush()
        code = 0
    except MemoryError:
        code = NO_MEMORY
    finally:
        os._exit(code)  # without Arrow's end, which may crash where there is little memory
