"""Manifests of every kind, local and on S3, with everything that can be wrong in them."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from pipelines.inputs.access import Access, InputLimits
from pipelines.inputs.listing import gather
from pipelines.inputs.manifests import manifest_uris
from pipelines.inputs.named import access_of
from pipelines.storage.filesystems import filesystem
from tagger.errors import CommandError, OptionError

ODD = ["a b.wav", "ü#%20?.ogg", "_a.wav", ".b.wav", "x.dat", " lead and trail .wav ", "-;'.mp3"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in [*ODD, "sub/c.wav", 'line\nbreak, "quoted".wav']:
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return tmp_path / "archive"


def listed(manifest: Path | str) -> dict[str, dict[str, object]]:
    return {Path(row["uri"]).name: row for row in gather([str(manifest)]).to_pylist()}


def test_text(archive: Path) -> None:
    lines = [*ODD, "", f"{archive}/sub/c.wav", f"file://{archive}/./sub/../sub/c.wav", "gone.wav"]
    (archive / "list.TXT").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    rows = listed(archive / "list.TXT")
    assert rows.keys() == {*ODD, "c.wav", "gone.wav"}
    assert rows["a b.wav"]["size_bytes"] == len("a b.wav")
    assert (rows["gone.wav"]["version"], rows["gone.wav"]["size_bytes"]) == ("", 0)


def test_names_alone_need_nothing_that_is_there(archive: Path) -> None:
    manifest = archive / "list.csv"
    manifest.write_text("uri,note\ngone.wav,1\ns3://no-bucket/x.wav,2\n")
    assert [*manifest_uris(f"file://{manifest}")] == [
        f"file://{archive}/gone.wav",
        "s3://no-bucket/x.wav",
    ]
    manifest.write_text("uri,note\n../gone.wav,1\n")
    with pytest.raises(CommandError, match="leaves the manifest's folder"):
        [*manifest_uris(f"file://{manifest}")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_with_a_byte_order_mark(archive: Path, encoding: str) -> None:
    (archive / "list.txt").write_bytes("\ufeffa b.wav\r\nü#%20?.ogg\r\n".encode(encoding))
    assert listed(archive / "list.txt").keys() == {"a b.wav", "ü#%20?.ogg"}
    (archive / "list.csv").write_bytes("\ufeffuri,ort\r\na b.wav,Köln\r\n".encode(encoding))
    assert listed(archive / "list.csv")["a b.wav"]["extra"] == '{"ort": "Köln"}'


def test_text_with_names_that_are_not_utf8(archive: Path) -> None:
    Path(os.fsdecode(os.fsencode(archive) + b"/caf\xe9.wav")).write_bytes(b"abc")
    (archive / "list.txt").write_bytes(b"caf\xe9.wav\n")
    (row,) = gather([f"{archive}/list.txt"]).to_pylist()
    assert (row["uri"], row["size_bytes"]) == (f"file+bytes://{archive}/caf%E9.wav", 3)


def test_csv(archive: Path) -> None:
    (archive / "list.csv").write_text(
        'station,uri,n\nwest,a b.wav,007\n"north, old","line\nbreak, ""quoted"".wav",\n,x.dat,1e5\n'
    )
    rows = listed(archive / "list.csv")
    assert {name: json.loads(row["extra"]) for name, row in rows.items()} == {
        "a b.wav": {"station": "west", "n": "007"},
        'line\nbreak, "quoted".wav': {"station": "north, old", "n": ""},
        "x.dat": {"station": "", "n": "1e5"},
    }
    assert all(row["version"] for row in rows.values())


def test_quotation_marks_within_a_csv_are_no_harm(archive: Path) -> None:
    for ending in (
        'a.wav,5" disc',
        'a.wav,"5"" disc"\n',
        'a.wav,""',
        'a.wav,"""x"""\n',
        "a.wav,\n",
    ):
        (archive / "list.csv").write_text(f"uri,n\n{ending}")
        assert len(gather([f"{archive}/list.csv"])) == 1


def test_parquet(archive: Path) -> None:
    table = pa.table(
        {
            "uri": ["a b.wav", "sub/c.wav"],
            "gain": [math.nan, 0.5],
            "where": [{"lat": 1.5}, None],
            "series": [{"t": [math.nan, math.inf, 1.0]}, {"t": []}],
            "at": pa.array([0, 1], pa.timestamp("us")),
        }
    )
    pq.write_table(table, archive / "list.parquet")
    extras = [json.loads(row["extra"]) for row in listed(archive / "list.parquet").values()]
    assert extras == [
        {
            "gain": None,
            "where": {"lat": 1.5},
            "series": {"t": [None, None, 1.0]},
            "at": "1970-01-01 00:00:00",
        },
        {
            "gain": 0.5,
            "where": None,
            "series": {"t": []},
            "at": "1970-01-01 00:00:00.000001",
        },
    ]


def test_a_folder_or_pipe_in_a_manifest_is_listed_as_not_there(archive: Path) -> None:
    os.mkfifo(archive / "pipe.wav")
    (archive / "loop.wav").symlink_to("loop.wav")
    (archive / "list.txt").write_text("sub\npipe.wav\na b.wav/below.wav\nloop.wav\ngone.wav\n")
    rows = listed(archive / "list.txt").values()
    assert [row["version"] for row in rows] == [""] * 5
    no_file = "unreadable: not a regular file"
    loop = "unreadable: Too many levels of symbolic links"
    assert [row["problem"] for row in rows] == [no_file, no_file, None, loop, None]


@pytest.mark.parametrize(
    ("name", "content", "mend"),
    [
        ("e.txt", b"", "at least one"),
        ("e.txt", b"\n \n", "at least one"),
        ("e.csv", b"", "at least one"),
        ("e.csv", b"uri\n", "at least one"),
        ("e.csv", b"name,size\na.wav,1\n", "column named uri"),
        ("e.csv", b"uri,uri\na.wav,b.wav\n", "column named uri"),
        ("e.csv", b"uri,n\na.wav,1\n,2\n", "row 2 has no uri"),
        ("e.csv", b"uri\nSECRET,2\n", "header line"),
        ("e.csv", b"uri\n\xff\xfe\n", "UTF-8"),
        ("e.csv", b"s3://K:SECRET@b/a.wav\ns3://K:SECRET@b/b.wav\n", "column named uri"),
        ("e.csv", b"uri,caf\xe9\na.wav,1\n", "UTF-8"),
        ("e.csv", b"uri,x,y,x\na.wav,1,2,3\n", "columns 2 and 4 have the same name"),
        ("e.csv", b"uri,,\na.wav,1,2\n", "columns 2 and 3 have no name"),
        ("e.csv", b"uri,n\na.wav,1\nb.wav\n", "1 fields in row 2 and 2 in its header line"),
        ("e.csv", b"uri,t\na.wav," + b"x" * 3_000_000, "a row of more than 1 MiB: leave out"),
        ("e.csv", b'uri,t\na.wav,"x\n' + b"b.wav,y\n" * 400_000, "mark is never closed"),
        ("e.csv", b'uri,t\na.wav,"x\nb.wav,y\n', "mark is never closed"),
        ("e.csv", b'uri,t\na.wav,1\nb.wav,"5""', "mark is never closed"),
        ("e.csv", b"uri\na.wav\nb\0.wav\n", "row 2.*save the manifest as UTF-8"),
        ("e.txt", b"a.wav\n" + b"x" * 3_000_000, "row 2 has over 16,384 letters, more than any"),
        ("e.txt", b"file:///x/a%00.wav\n", "row 1 has a NUL in it"),
        ("e.txt", b"a.wav\nb\0.wav\n", "row 2.*save the manifest as UTF-8"),
        ("e.txt", "a.wav\nb.wav\n".encode("utf-16-le"), "row 1.*save the manifest as UTF-8"),
        ("e.txt", b"\xff\xfea", "expected lines of UTF-8"),
        ("e.txt", b"caf\xe9.wav\nhttps://h/caf\xe9.wav\n", "row 2.*save the manifest as UTF-8"),
        ("e.parquet", b"PAR1 not", "Parquet"),
        ("e.txt", b"a b.wav\ns3://K:SECRET@bucket/b.wav\n", "row 2.*environment"),
        ("e.txt", b"https://h/a.wav?X-Amz-Signature=SECRET\n", "row 1.*environment"),
        ("e.csv", b"uri,from\na.wav,https://u:SECRET@h/a.wav\n", "credentials; remove"),
        ("e.txt", b"../outside.wav\n", "absolute path"),
        ("e.txt", b"sub/../../outside.wav\n", "absolute path"),
        ("e.txt", b"nosuchscheme://a.wav\n", "row 1 names something at nosuchscheme://.*may name"),
        ("e.txt", b"zip://a.wav::file:///in.zip\n", "at zip://"),
        ("e.txt", b"GIT://path/main/a.wav\n", "at git://"),
        ("e.txt", b"memory://a.wav\n", "at memory://"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    archive: Path, name: str, content: bytes, mend: str
) -> None:
    (archive / name).write_bytes(content)
    with pytest.raises(CommandError, match=mend) as caught:
        gather([f"{archive}/{name}"])
    assert "\n" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_parquet_manifest_with_a_column_name_twice(archive: Path) -> None:
    table = pa.table([["a b.wav"], ["1"], ["2"]], names=["uri", "x", "x"])
    pq.write_table(table, archive / "list.parquet")
    with pytest.raises(CommandError, match="columns 2 and 3 have the same name"):
        gather([f"{archive}/list.parquet"])


def test_file_uris_may_be_percent_encoded_and_paths_are_not(archive: Path) -> None:
    for name in ("100%.wav", "ü.wav", "x%20y.wav"):
        (archive / name).write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(archive) + b"/caf\xe9.wav")).write_bytes(b"abc")
    as_uris = [(archive / name).as_uri() for name in ("a b.wav", "100%.wav", "ü.wav", "gone é.wav")]
    as_uris[0] = as_uris[0].replace("file://", "file://localhost")
    as_uris[1] = as_uris[1].replace("file://", "file:")
    as_it_is = [f"file://{archive}/x%20y.wav", f"{archive}/x%20y.wav", "a%20b.wav"]
    lines = [*as_uris, *as_it_is, f"file://{archive}/caf%E9.wav"]
    for suffix, head in {"txt": "\ufeff", "csv": "\ufeffuri\r\n"}.items():
        text = head + "".join(f"{line}\r\n" for line in lines)
        (archive / f"list.{suffix}").write_text(text, newline="")
        rows = gather([f"{archive}/list.{suffix}"]).to_pylist()
        assert [row["uri"].rpartition("/")[2] for row in rows] == [
            *("a b.wav", "100%.wav", "ü.wav", "gone é.wav", "x%20y.wav", "a%20b.wav", "caf%E9.wav")
        ]
        assert [bool(row["version"]) for row in rows] == [1, 1, 1, 0, 1, 0, 1]
    (archive / "a%20b.wav").write_bytes(b"x")
    with pytest.raises(CommandError, match=r"row 1: .* there are both: give the path"):
        gather([f"{archive}/list.txt"])


def test_what_is_to_be_forgotten_is_named_in_one_way(archive: Path) -> None:
    (archive / "list.txt").write_text(f"{archive}/x%20y.wav\nfile://{archive}/100%.wav\n")
    found = [*manifest_uris(f"file://{archive}/list.txt")]
    assert found == [f"file://{archive}/x%20y.wav", f"file://{archive}/100%.wav"]
    (archive / "list.txt").write_text((archive / "a b.wav").as_uri())
    with pytest.raises(CommandError, match=r"row 1: .* may mean .*: give the path without file://"):
        [*manifest_uris(f"file://{archive}/list.txt")]


@pytest.mark.parametrize("kind", [pa.binary(), pa.string()])
def test_a_parquet_manifest_that_is_not_utf8(archive: Path, kind: pa.DataType) -> None:
    names = pa.array([b"https://h/a.wav", b"https://h/caf\xe9.wav"])
    column = pa.Array.from_buffers(kind, 2, names.buffers())
    pq.write_table(pa.table({"uri": column}), archive / "list.parquet")
    with pytest.raises(CommandError, match=r"row [02] .*as UTF-8"):
        gather([f"{archive}/list.parquet"])


def test_links_do_not_lead_out_unless_written_out(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.wav").write_bytes(b"s")
    (archive / "out.wav").symlink_to(tmp_path / "outside/secret.wav")
    (archive / "outdir").symlink_to(tmp_path / "outside")
    (archive / "in.wav").symlink_to("sub/c.wav")
    for entry in ["out.wav", "outdir/secret.wav"]:
        (archive / "list.txt").write_text(entry)
        with pytest.raises(CommandError, match="absolute path and give --allow-local"):
            gather([f"{archive}/list.txt"])
    (archive / "list.txt").write_text(f"in.wav\n{archive}/out.wav\n")
    assert listed(archive / "list.txt").keys() == {"in.wav", "out.wav"}


def test_local_rows_lie_below_folders_that_the_command_names(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    secret = tmp_path / "outside/secret.wav"
    secret.write_bytes(b"s")
    (archive / "out.wav").symlink_to(secret)
    (archive / "outdir").symlink_to(tmp_path / "outside")
    (tmp_path / "archive-2").mkdir()
    (tmp_path / "archive-2/x.wav").write_bytes(b"x")
    manifest = archive / "list.txt"
    inside = [f"{archive}/x.dat", f"{archive}/sub/c.wav", f"file://{archive}/gone.wav", "a b.wav"]
    outside = [
        *(str(secret), f"file://{secret}", f"FILE://localhost{secret}", f"file+bytes://{secret}"),
        *(f"{archive}/../outside/secret.wav", f"{archive}/out.wav", f"{archive}/outdir/secret.wav"),
        *("/etc/passwd", "/proc/self/environ", f"{tmp_path}/archive-2/x.wav", str(tmp_path)),
    ]

    def outcome(lines: list[str], *inputs: Path | str, **limits: bool) -> int:
        manifest.write_text("\n".join(lines))
        texts = [str(manifest), *map(str, inputs)]
        access = access_of(texts, InputLimits(**limits), 5.0)
        return len(gather(texts[:1], access=access))

    assert outcome(inside) == 4
    for line in outside:
        with pytest.raises(CommandError, match=r"list.txt' row 2 names .*--allow-local") as caught:
            outcome(["x.dat", line])
        assert "\n" not in str(caught.value)
        assert outcome(["x.dat", line], allow_local=True) == 2
    for named in (tmp_path / "outside", f"{tmp_path}/out*/**/*.wav", f"file://{tmp_path}/outside/"):
        assert outcome(outside[:7], archive, named) >= 1
        with pytest.raises(CommandError, match="--allow-local"):
            outcome(["/etc/passwd"], archive, named)
    with pytest.raises(CommandError, match="--allow-local"):
        outcome([str(secret)], secret)  # a file is no folder


@pytest.mark.s3
def test_a_manifest_elsewhere_may_name_folders_of_the_command(s3, archive: Path) -> None:
    manifest = f"{s3.new_prefix()}/list.txt"
    filesystem("s3://").pipe(manifest, f"{archive}/x.dat".encode())
    for inputs, limits in [
        ([manifest, str(archive)], InputLimits()),
        ([manifest], InputLimits(allow_local=True)),
    ]:
        rows = gather([manifest], access=access_of(inputs, limits, 5.0)).to_pylist()
        assert [row["uri"] for row in rows] == [f"file://{archive}/x.dat"]


def most(**limits: float) -> Access:
    return Access(InputLimits(**limits))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_one_row_may_hold(archive: Path, suffix: str) -> None:
    def write(n_letters: int) -> str:
        table = pa.table({"uri": ["x.dat", "a b.wav"], "n": ["", "x" * n_letters]})
        path = archive / f"list.{suffix}"
        pq.write_table(table, path) if suffix == "parquet" else pa_csv.write_csv(table, path)
        return str(path)

    assert len(gather([write((1 << 20) - 100)])) == 2
    for n_letters, access in [
        (1 << 20, Access()),
        (3 << 20, Access()),
        (2000, most(extra_mb=1e-3)),
    ]:
        with pytest.raises(CommandError, match=r"row 2 has more|a row of more than") as caught:
            gather([write(n_letters)], access=access)
        assert "\n" not in str(caught.value)
    assert len(gather([write(3 << 20)], access=most(extra_mb=4.0))) == 2


def test_what_a_manifest_may_hold(archive: Path) -> None:
    (archive / "list.txt").write_bytes(b"x.dat\n" * 400_000)
    with pytest.raises(OptionError, match=r"is 1, and .* holds more") as caught:
        gather([f"{archive}/list.txt"], access=most(manifest_mb=1))
    assert caught.value.option == "manifest_mb"
    pq.write_table(pa.table({"uri": ["x.dat"] * 20_000}), archive / "list.parquet")
    assert (archive / "list.parquet").stat().st_size < 1 << 20
    with pytest.raises(OptionError, match=r"is 1, and .* holds more"):  # unpacked
        gather([f"{archive}/list.parquet"], access=most(manifest_mb=1))
    assert len(gather([f"{archive}/list.parquet"], access=most(manifest_mb=2))) == 1
    (archive / "list.txt").write_bytes(b"x" * 100_000)
    with pytest.raises(CommandError, match="more than any path"):
        gather([f"{archive}/list.txt"])


@pytest.mark.parametrize(
    ("column", "outcome"),
    [
        (pa.array([f"{i:03}" + "x" * 1_000_000 for i in range(100)]), "100"),  # in one page
        (pa.array([[0] * 5_000_000], pa.list_(pa.int8())), "row 1 has more beside its uri"),
        (pa.array([["x" * 1_000_000] * 1000]), "of memory to unpack"),
    ],
    ids=["pages", "numbers", "lists"],
)
def test_parquet_that_unfolds(archive: Path, column: pa.Array, outcome: str) -> None:
    """Kilobytes that are hundreds of megabytes: the driver's memory does not grow with them."""
    path = archive / "list.parquet"
    table = pa.table({"uri": [f"{i}.wav" for i in range(len(column))], "n": column})
    pq.write_table(table, path, compression="zstd", use_dictionary=pa.types.is_list(column.type))
    assert path.stat().st_size < 50_000
    program = (
        "import resource, sys; from pipelines.inputs.listing import gather_kept\n"
        "from pipelines.inputs.access import ANY; from pipelines.inputs.extras import Extras\n"
        "from pipelines.inputs.skipped import Skipped\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: print(len(gather_kept(sys.argv[1:], Skipped(), False, ANY, Extras())))\n"
        "except ValueError as error: print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) >> 10)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", program, path], text=True).splitlines()
    assert outcome in told[0]
    assert int(told[-1]) < 100


def test_the_text_of_a_manifest_is_read_in_linear_time(archive: Path) -> None:
    """Python's ``re`` would take hours for each of these rows."""
    hard = ["https://h/" + "?" * 60_000, "https://" + "a:" * 30_000, "https://h/?" + "&a" * 30_000]
    (archive / "list.csv").write_text("n,uri\n" + "".join(f"{text},x.dat\n" for text in hard))
    assert len(gather([f"{archive}/list.csv"])) == 1


def test_further_columns_cost_the_driver_no_memory(tmp_path: Path) -> None:
    """20,000 rows with 5 KB each: 100 MB of text, of which no 25 are held."""
    (tmp_path / "one.txt").write_text("x.wav")
    with (tmp_path / "list.csv").open("w") as file:
        file.write("uri,n\n")
        file.writelines(f"{i}.wav,{i:05000}\n" for i in range(20_000))
    program = (
        "import resource, sys; from pipelines.inputs.listing import gather_kept\n"
        "from pipelines.inputs.access import ANY; from pipelines.inputs.extras import Extras\n"
        "from pipelines.inputs.skipped import Skipped; extras = Extras()\n"
        "gather_kept([sys.argv[1][:-8] + 'one.txt'], Skipped(), False, ANY, extras)\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "clips = gather_kept(sys.argv[1:], Skipped(), False, ANY, extras)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) >> 10)\n"
        "print(extras.restored(clips.slice(19_999))['extra'][0])\n"
    )
    told = subprocess.check_output(
        [sys.executable, "-c", program, tmp_path / "list.csv"], text=True
    ).splitlines()
    assert int(told[0]) < 60
    assert json.loads(told[1]) == {"n": f"{19_999:05000}"}


@pytest.mark.s3
def test_manifests_on_s3(s3, archive: Path) -> None:
    prefix = s3.new_prefix()
    fs = filesystem("s3://")
    fs.pipe({f"{prefix}/in/{i:03}.wav": b"x" * i for i in range(1, 61)})
    many = [f"in/{i:03}.wav" for i in range(1, 61)]  # enough of one folder to list it
    lines = [*many, f"{prefix}/in/gone.wav", "./in/other.wav"]
    fs.pipe(f"{prefix}/list.txt", "\n".join(lines).encode())
    rows = gather([f"{prefix}/list.txt"]).to_pylist()
    assert [row["uri"].removeprefix(f"{prefix}/") for row in rows] == [
        *many,
        "in/gone.wav",
        "in/other.wav",
    ]
    assert [row["size_bytes"] for row in rows] == [*range(1, 61), 0, 0]
    assert [bool(row["version"]) for row in rows] == [True] * 60 + [False] * 2
    by_folder = {row["uri"]: row for row in gather([f"{prefix}/in"]).to_pylist()}
    assert rows[:60] == [by_folder[row["uri"]] for row in rows[:60]]
    (archive / "mixed.txt").write_text(f"a b.wav\n{prefix}/in/001.wav\n")
    assert listed(archive / "mixed.txt").keys() == {"a b.wav", "001.wav"}


@pytest.mark.s3
@pytest.mark.parametrize(
    "entry",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "local:///etc/passwd",
        "LOCAL:///etc/passwd",
        "file+bytes:///etc/passwd",
        "a/../../b.wav",
    ],
)
def test_a_manifest_on_s3_does_not_lead_out(s3, entry: str) -> None:
    prefix = s3.new_prefix()
    filesystem("s3://").pipe(f"{prefix}/list.txt", entry.encode())
    access = access_of([f"{prefix}/list.txt"], InputLimits(), 5.0)
    with pytest.raises(CommandError, match=r"whole URIs|--allow-local"):
        gather([f"{prefix}/list.txt"], access=access)


@pytest.mark.s3
def test_chains_of_fsspec_are_names_like_any_other(s3) -> None:
    prefix = s3.new_prefix()
    wrapped = "simplecache::file:///etc/passwd"
    filesystem("s3://").pipe(f"{prefix}/list.txt", f"{wrapped}\n{prefix}/a::{wrapped}".encode())
    rows = gather([f"{prefix}/list.txt"]).to_pylist()
    assert [row["uri"] for row in rows] == [f"{prefix}/{wrapped}", f"{prefix}/a::{wrapped}"]
    assert [row["version"] for row in rows] == ["", ""]


@pytest.mark.s3
def test_a_missing_bucket_in_a_manifest(s3, archive: Path) -> None:
    (archive / "list.txt").write_text("s3://no-such-bucket-here/a.wav\n")
    with pytest.raises(CommandError, match="does not exist; check"):
        gather([f"{archive}/list.txt"])
