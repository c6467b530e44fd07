"""The check of submissions, on zips with one violation each and on valid ones."""

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL.PngImagePlugin import PngInfo

from newsimg.submission.check import Violation, check_submission
from newsimg.task.check import CheckTask

Files = dict[str, bytes]


def encode(picture: PILImage.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def paint(seed: int, size: tuple[int, int] = (460, 260)) -> PILImage.Image:
    patches = np.random.default_rng(seed).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    return PILImage.fromarray(patches).resize(size, PILImage.Resampling.NEAREST)


PICTURES = [encode(paint(seed)) for seed in range(6)]


def make_2026() -> Files:
    """Return two runs over three articles."""
    names = [f"team_{a}/{i}_team_{a}.png" for a in ("clip", "judge_2") for i in (1, 2, 3)]
    return dict(zip(names, PICTURES, strict=True))


def make_2025() -> Files:
    names = [f"my_team/RET_{a}_{s}/{i}_my_team_{a}.png" for a in "ab" for s, i in
             (("SMALL", 1), ("LARGE", 1), ("LARGE", 2))]  # fmt: skip
    return dict.fromkeys(names, PICTURES[0])  # in 2025 runs may show the same picture


def write(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    path = Path("team.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def check(files: Files, **subsets: list[str]) -> list[tuple[str, str]]:
    found = check_submission(write(files.items()), None, subsets)
    return [(violation.file, violation.reason) for violation in found]


FIRST = "team_clip/1_team_clip.png"
WRONG_PATH_2025 = (
    "must be [group]/[RET|GEN]_[approach]_[SMALL|LARGE]/[article_id]_[group]_[approach].png, "
    "with or without [group]/"
)


def replaced(content: bytes) -> Files:
    return make_2026() | {FIRST: content}


def renamed(old: str, new: str, files: Files | None = None) -> Files:
    return {name.replace(old, new): content for name, content in (files or make_2026()).items()}


def without(name: str, files: Files) -> Files:
    return {other: content for other, content in files.items() if other != name}


@pytest.mark.parametrize("files", [make_2026(), make_2025()], ids=["2026", "2025"])
def test_a_valid_zip_has_no_violations(files: Files) -> None:
    assert check(files) == []


# The organisers' example: the zip is named after the group and has no folder of that name.
EXAMPLE = [
    "GEN_FLUX_SMALL/37FC359AB91C0DC6D21D270AED0C87E3_UnstableOsmosis_FLUX.png",
    "GEN_SD_LARGE/37FC359AB91C0DC6D21D270AED0C87E3_UnstableOsmosis_SD.png",
]


@pytest.mark.parametrize("zip_name", ["UnstableOsmosis.zip", "downloaded (1).zip"])
@pytest.mark.parametrize("above", ["", "UnstableOsmosis/"])
def test_the_organisers_example_of_2025_has_no_violations(zip_name: str, above: str) -> None:
    names = [above + name for name in EXAMPLE]
    path = write((name, PICTURES[0]) for name in names).rename(zip_name)
    assert check_submission(path, None, {}) == []
    assert check_submission(path, 2025, {"LARGE": ["37FC359AB91C0DC6D21D270AED0C87E3"]}) == []
    lacking = check_submission(path, 2025, {"LARGE": ["37FC359AB91C0DC6D21D270AED0C87E3", "x"]})
    assert lacking == [Violation(f"{above}GEN_SD_LARGE", "lacks a picture for article x")]


def test_a_zip_of_2025_may_contain_generated_and_retrieved_pictures() -> None:
    names = [f"grp/{kind}_{a}_LARGE/117_grp_{a}.png" for kind, a in (("GEN", "FLUX"), ("RET", "b"))]
    assert check(dict.fromkeys(names, PICTURES[0])) == []


def test_a_group_without_a_folder_is_inferred_from_the_file_names() -> None:
    names = [f"RET_b_LARGE/{i}_my_grp_b.png" for i in (1, 2)] + ["GEN_c_LARGE/1_my_grp_c.png"]
    found = check(dict.fromkeys([*names, "GEN_c_LARGE/2_other_c.png"], PICTURES[0]))
    assert found == [
        ("GEN_c_LARGE/2_other_c.png", "must be named [article_id]_my_grp_c.png"),
        ("GEN_c_LARGE", "lacks a picture for article 2"),
    ]


@pytest.mark.parametrize("bad", ["a/b/c.png", "notes.txt", "g/RET_a_LARGE/117_g_a.png"])
def test_one_invalid_name_does_not_change_the_guessed_layout(bad: str) -> None:
    names = [f"g_a/{i}_g_a.png" for i in (117, 118)]
    found = check(dict.fromkeys([*names, bad], PICTURES[0]))
    assert [file for file, _ in found] == [bad]
    alone = check({names[0]: PICTURES[0], "x/y/z.png": PICTURES[0]})
    assert [file for file, _ in alone] == ["x/y/z.png"]


def test_folder_entries_are_not_a_violation() -> None:
    assert check({"team_clip/": b"", "team_judge_2/": b"", **make_2026()}) == []


exif = PILImage.Exif()
exif[0x0112] = 6
TEXT = PngInfo()
TEXT.add_text("Author", "Ada")
INVALID = {
    "a JPEG with the extension of a PNG": (
        replaced(encode(paint(0), "JPEG")),
        [(FIRST, "must be a PNG, is JPEG")],
    ),
    "too small": (
        replaced(encode(paint(0, (459, 260)))),
        [(FIRST, "must be 460x260, is 459x260")],
    ),
    "upright": (
        replaced(encode(paint(0, (260, 460)))),
        [(FIRST, "must be 460x260, is 260x460")],
    ),
    "transparent": (
        replaced(encode(paint(0).convert("RGBA"))),
        [(FIRST, "must be RGB without transparency, is RGBA")],
    ),
    "a palette": (
        replaced(encode(paint(0).convert("P"))),
        [(FIRST, "must be RGB without transparency, is P")],
    ),
    "grey": (
        replaced(encode(paint(0).convert("L"))),
        [(FIRST, "must be RGB without transparency, is L")],
    ),
    "animated": (
        replaced(encode(paint(0), save_all=True, append_images=[paint(1)])),
        [(FIRST, "must have one frame, has 2")],
    ),
    "EXIF orientation": (
        replaced(encode(paint(0), exif=exif)),
        [(FIRST, "must not have an EXIF orientation other than 1")],
    ),
    "truncated": (
        replaced(PICTURES[0][:600]),
        [(FIRST, "is a damaged picture: image file is truncated")],
    ),
    "no picture": (replaced(b"<html>"), [(FIRST, "is not a picture")]),
    "empty": (replaced(b""), [(FIRST, "is not a picture")]),
    "a bomb": (
        replaced(bytes(50_000_000)),
        [(FIRST, "has 50000000 bytes, must have at most 717600")],
    ),
    "the wrong extension": (
        renamed("1_team_clip.png", "1_team_clip.PNG"),
        [
            ("team_clip/1_team_clip.PNG", "must be named [article_id]_team_clip.png"),
            ("team_clip", "lacks a picture for article 1"),
        ],
    ),
    "the wrong approach in the name": (
        renamed("1_team_clip.png", "1_team_other.png"),
        [
            ("team_clip/1_team_other.png", "must be named [article_id]_team_clip.png"),
            ("team_clip", "lacks a picture for article 1"),
        ],
    ),
    "no article id": (
        renamed("1_team_clip.png", "_team_clip.png"),
        [
            ("team_clip/_team_clip.png", "has a name that is not safe on every system: "
             "'_team_clip.png'"),
            ("team_clip", "lacks a picture for article 1"),
        ],
    ),
    "no folder": (
        make_2026() | {"4_team_clip.png": PICTURES[0]},
        [("4_team_clip.png", "must be [group]_[approach]/[article_id]_[group]_[approach].png")],
    ),
    "a nested folder": (
        make_2026() | {"team_clip/more/4_team_clip.png": PICTURES[0]},
        [("team_clip/more/4_team_clip.png",
          "must be [group]_[approach]/[article_id]_[group]_[approach].png")],
    ),
    "a folder without an approach": (
        renamed("team_clip/", "team/"),
        [(f"team/{i}_team_clip.png",
          "must be [group]_[approach]/[article_id]_[group]_[approach].png") for i in (1, 2, 3)],
    ),
    "an article without a picture": (
        without(FIRST, make_2026()),
        [("team_clip", "lacks a picture for article 1")],
    ),
    "two groups": (
        renamed("team_clip", "other_clip"),
        [("team.zip", "must contain one group, contains other, team")],
    ),
    "one picture in two runs": (
        make_2026() | {"team_judge_2/1_team_judge_2.png": PICTURES[0]},
        [("team_judge_2/1_team_judge_2.png", "shows the same picture as run team_clip")],
    ),
    "one picture in two runs, with different metadata": (
        make_2026() | {"team_judge_2/1_team_judge_2.png": encode(paint(0), pnginfo=TEXT)},
        [("team_judge_2/1_team_judge_2.png", "shows the same picture as run team_clip")],
    ),
    "metadata files of macOS": (
        make_2026() | {"__MACOSX/team_clip/._1_team_clip.png": b"x"},
        [("__MACOSX/team_clip/._1_team_clip.png", "is a metadata file of the operating system"),
         ("__MACOSX/team_clip/._1_team_clip.png", "is not a picture")],
    ),
    "a path to the parent folder": (
        make_2026() | {"../4_team_clip.png": PICTURES[0]},
        [("../4_team_clip.png", "points outside the folder that the zip is unpacked in")],
    ),
    "a path from the root": (
        make_2026() | {"/etc/4_team_clip.png": PICTURES[0]},
        [("/etc/4_team_clip.png", "points outside the folder that the zip is unpacked in")],
    ),
    "backslashes": (
        make_2026() | {"team_clip\\4_team_clip.png": PICTURES[0]},
        [("team_clip\\4_team_clip.png", "has a backslash or NUL character in its name")],
    ),
    "a non-ASCII name": (
        make_2026() | {"team_clip/ä_team_clip.png": PICTURES[0]},
        [("team_clip/ä_team_clip.png",
          "has a name that is not safe on every system: 'ä_team_clip.png'")],
    ),
    "names that differ in case": (
        make_2026() | {"team_clip/x_team_clip.png": PICTURES[1], "team_judge_2/x_team_judge_2.png":
                       PICTURES[2], "team_CLIP/x_team_CLIP.png": PICTURES[3],
                       **{f"team_CLIP/{i}_team_CLIP.png": PICTURES[-i] for i in (1, 2, 3)}},
        [("team_CLIP/x_team_CLIP.png", "differs from team_clip/x_team_clip.png only in case")]
        + [(f"team_CLIP/{i}_team_CLIP.png",
            f"differs from team_clip/{i}_team_clip.png only in case") for i in (1, 2, 3)],
    ),
    "2025 without RET": (
        renamed("RET_a_SMALL", "a_SMALL", make_2025()),
        [("my_team/a_SMALL/1_my_team_a.png",
          WRONG_PATH_2025)],
    ),
    "2025 in another size": (
        renamed("RET_a_SMALL", "RET_a_MEDIUM", make_2025()),
        [("my_team/RET_a_MEDIUM/1_my_team_a.png",
          WRONG_PATH_2025)],
    ),
    "2025 with another group's picture": (
        renamed("RET_a_SMALL/1_my_team", "RET_a_SMALL/1_your_team", make_2025()),
        [("my_team/RET_a_SMALL/1_your_team_a.png", "must be named [article_id]_my_team_a.png"),
         ("my_team/RET_a_SMALL", "contains no correctly named picture"),
         ("my_team/RET_a_SMALL", "lacks a picture for article 1")],
    ),
    "2025 lacks an article": (
        without("my_team/RET_b_LARGE/2_my_team_b.png", make_2025()),
        [("my_team/RET_b_LARGE", "lacks a picture for article 2")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", INVALID)
def test_a_violation_is_listed_with_file_and_reason(kind: str) -> None:
    files, expected = INVALID[kind]
    assert check(files) == expected


def test_a_duplicate_file_is_a_violation() -> None:
    files = [*make_2026().items(), (FIRST, PICTURES[5])]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = write(files)
    assert Violation(FIRST, "occurs more than once") in check_submission(path, None, {})


def test_a_symbolic_link_is_a_violation() -> None:
    link = zipfile.ZipInfo(FIRST)
    link.create_system, link.external_attr = 3, 0o120777 << 16
    files = [(link, b"/etc/passwd"), *without(FIRST, make_2026()).items()]
    found = check_submission(write(files), None, {})
    assert Violation(FIRST, "is a symbolic link") in found


def test_an_encrypted_file_is_a_violation() -> None:
    path = write(make_2026().items())
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1  # the flag in both headers
    path.write_bytes(content)
    assert check_submission(path, None, {})[0] == Violation(FIRST, "is encrypted")


def test_damaged_bytes_are_a_violation() -> None:
    path = write(make_2026().items())
    content = bytearray(path.read_bytes())
    content[content.index(PICTURES[0]) + 200] ^= 255
    path.write_bytes(content)
    (found,) = check_submission(path, None, {})
    assert found == Violation(FIRST, f"cannot be unpacked: Bad CRC-32 for file {FIRST!r}")


@pytest.mark.parametrize("content", [b"", b"Rar!", encode(paint(0))])
def test_a_file_that_is_not_a_zip_is_a_violation(content: bytes) -> None:
    Path("team.zip").write_bytes(content)
    (found,) = check_submission(Path("team.zip"), None, {})
    assert found == Violation("team.zip", "is not a readable zip: File is not a zip file")


def test_a_truncated_zip_is_a_violation() -> None:
    path = write(make_2026().items())
    path.write_bytes(path.read_bytes()[:-100])
    (found,) = check_submission(path, None, {})
    assert found.reason.startswith("is not a readable zip")


def test_an_empty_zip_is_a_violation() -> None:
    assert check({}) == [("team.zip", "contains no files")]


def test_all_violations_of_a_file_are_listed() -> None:
    files = make_2026() | {FIRST: encode(paint(0, (10, 10)).convert("L"), "JPEG")}
    assert [reason for _, reason in check(files)] == [
        "must be a PNG, is JPEG",
        "must be 460x260, is 10x10",
        "must be RGB without transparency, is L",
    ]


def test_missing_and_additional_articles_of_a_subset_are_listed_for_every_run() -> None:
    assert check(make_2026(), ALL=["2", "3", "4"]) == [
        ("team_clip", "lacks a picture for article 4"),
        (FIRST, "is for an article not in the subset"),
        ("team_judge_2", "lacks a picture for article 4"),
        ("team_judge_2/1_team_judge_2.png", "is for an article not in the subset"),
    ]


def test_a_subset_without_any_run_is_a_violation() -> None:
    files = {name: content for name, content in make_2025().items() if "SMALL" not in name}
    assert check(files, SMALL=["1"]) == [("*_SMALL", "there is no run")]


def test_the_layout_can_be_specified() -> None:
    found = check_submission(write(make_2026().items()), 2025, {})
    assert len(found) == 6
    assert all(violation.reason == WRONG_PATH_2025 for violation in found)


@pytest.fixture
def run_check(tmp_path: Path) -> Callable[..., dict[str, float]]:
    def run(**changes: object) -> dict[str, float]:
        arguments = {"submission": "team.zip", "layout": None, "size": "LARGE", "subset": None}
        return CheckTask(**arguments | changes).run(None, tmp_path)  # type: ignore[arg-type]

    return run


def test_the_task_fails_if_there_is_a_violation_and_writes_violations_csv(
    run_check: Callable[..., dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(INVALID["too small"][0].items())
    with pytest.raises(SystemExit, match=r"team.zip: 1 violation, listed in .*violations.csv"):
        run_check()
    assert f"{FIRST}: must be 460x260, is 459x260" in capsys.readouterr().out
    lines = (tmp_path / "violations.csv").read_text().splitlines()
    assert lines == ["file,reason", f'{FIRST},"must be 460x260, is 459x260"']


def test_the_task_reads_the_required_articles_from_a_subset(
    run_check: Callable[..., dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    write(make_2026().items())
    Path("some.csv").write_text("article_id,article_title\n1,x\n2,x\n3,x\n4,x\n")
    with pytest.raises(SystemExit, match="2 violations"):
        run_check(layout=2026, subset="some.csv")
    assert "team_clip: lacks a picture for article 4" in capsys.readouterr().out
    write(make_2025().items())
    Path("small.csv").write_text("article_id,article_title\n1,x\n")
    assert run_check(layout=2025, subset="small.csv", size="SMALL") == {"n_violations": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"submission": None},
            r"submission must name a zip, e.g. submission=newsroom.zip, got None",
        ),
        ({"layout": 2024}, r"task.layout must be one of 2025, 2026, got 2024"),
        ({"subset": "a.csv"}, r"task.layout must be one of 2025, 2026 if task.subset is set"),
    ],
)
def test_an_argument_out_of_range_is_named(
    changes: dict[str, object], message: str, run_check: Callable[..., dict[str, float]]
) -> None:
    with pytest.raises(ValueError, match=message):
        run_check(**changes)


def test_a_missing_submission_is_named(
    run_check: Callable[..., dict[str, float]],
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no submission nowhere.zip"):
        run_check(submission="nowhere.zip")


def test_terminal_control_characters_in_a_name_are_escaped(
    run_check: Callable[..., dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    write({**make_2026(), "team_clip/\x1b[2J.png": PICTURES[0]}.items())
    with pytest.raises(SystemExit):
        run_check()
    assert "\x1b" not in capsys.readouterr().out
