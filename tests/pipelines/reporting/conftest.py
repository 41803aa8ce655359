"""An archive with names that mean harm, tagged by an untrained model of three labels."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines.tagging.job import TagJob
from pipelines.tagging.run import tag
from tests.support.sounds import write_sound

HOSTILE = (
    "<script>document.title = 'taken'<",  # and "/script>", since a slash begins another folder
    '"><img src=x onerror="throw 1">.wav',
    "exe.\u202egnp.wav",
    "line\nbreak\r\t\x1b[31m.wav",
    "=HYPERLINK('x').wav",
    "it's {{ 7 * 7 }}, %s & more.wav",
)


class Archive(NamedTuple):
    tables: str
    sounds: Path
    model: str


@pytest.fixture(scope="session")
def _tagged(tmp_path_factory, tiny_model) -> Archive:
    sounds = tmp_path_factory.mktemp("sounds")
    folder, *names = HOSTILE
    write_sound(sounds / folder / "script>.wav", 2.0, seed=1)
    for seed, name in enumerate(names, 2):
        write_sound(sounds / name, 2.0, seed=seed)
    write_sound(sounds / "20240101_063000.flac", 25.0, rate=44_100, channels=2, seed=20)
    write_sound(sounds / "gone.wav", 2.0, seed=30)
    (sounds / "broken.wav").write_bytes(b"no sound")
    out = str(tmp_path_factory.mktemp("tagged") / "out")
    tag(TagJob(inputs=(str(sounds),), out=out, model=str(tiny_model), max_failed=1.0), ["tag"])
    (sounds / "gone.wav").unlink()
    return Archive(out, sounds, str(tiny_model))


@pytest.fixture
def archive(_tagged, tmp_path) -> Archive:
    """The tagged archive; its tables are a copy."""
    shutil.copytree(_tagged.tables, tmp_path / "tables")
    return _tagged._replace(tables=str(tmp_path / "tables"))


@pytest.fixture(scope="session")
def page(_tagged, tmp_path_factory) -> Path:
    """The archive's page as one file."""
    from pipelines.reporting.job import ReportJob
    from pipelines.reporting.run import report

    path = tmp_path_factory.mktemp("page") / "report.html"
    report(ReportJob(tables=_tagged.tables, out=str(path), model=_tagged.model))
    return path
