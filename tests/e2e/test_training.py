"""Training verbs that cannot be carried out: one line says why, and nothing is left behind.

What they do when they can is in ``tests/pipelines/paper/test_reproduce.py``.
"""

from pathlib import Path

import pytest

from pipelines.cli.main import Exit, main


@pytest.mark.parametrize(
    ("command", "mended"),
    [
        ("prepare nowhere --work w", "nowhere"),
        ("finetune --work w --name x --split all", "run prepare first"),
        ("embed --work w --extractors x", "run prepare first"),
        (
            "fit --work w --extractors x --name B --kind lstm --segments 6",
            "--segments is for attention",
        ),
        ("fit --work w --extractors x --name F", "run prepare first"),
        ("fit --work w --extractors x --name B --kind lstm --mixup 0.2", "mixed"),
        ("fit --work w --extractors x --name F --levels 4", "--levels must"),
        ("fit --work w --extractors x --name F --batch-size 0", "--batch-size must"),
        ("evaluate --work w --name e --members F", "HEAD:EXTRACTOR"),
        ("reproduce data --work w --setting huge", "reduced"),
        ("reproduce data --work w --rows 9-Z", "3-F"),
        ("reproduce data --work w --rows bundled", "bundle makes"),
        ("bundle data --work w --publish s3://b/m", "local folder"),
        ("bundle data --work w", "--publish is required"),
        ("finetune --work w --name x --split all --workers 0", "--workers"),
        ("finetune --work w --name ../x --split all", "letters"),
        ("finetune --work w --name x --split all --copies -1", "--copies"),
        ("finetune --work w --name x --split all --hidden 0", "--hidden must be"),
        ("finetune --work w --name x --split all --network baseline --hidden 8", "VGGish"),
        ("finetune --work w --name x --split all --network baseline --normalise", "VGGish"),
        ("finetune --work w --name x --split all --start s3://me:secret@b/m", "credentials"),
        ("reproduce data --work w --start nowhere", "nowhere"),
        ("fit --work w --extractors x --name classifier", "own head"),
        ("fit --work w --extractors x --name B --kind lstm --hidden 0", "--hidden must be"),
        ("evaluate --work w --name e --members F:x --publish s3://b/m", "local folder"),
    ],
)
def test_what_cannot_be_carried_out_is_told_in_one_line(
    command: str,
    mended: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == Exit.COMMAND
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert mended in said.err
    assert list(tmp_path.iterdir()) == []
