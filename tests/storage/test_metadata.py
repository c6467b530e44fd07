"""The words in a picture's file: IPTC, XMP and EXIF, in four formats, damaged and hostile."""

import hashlib
import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from PIL import Image as PILImage
from PIL import TiffImagePlugin

from newsimg.datatypes import Image
from newsimg.storage.metadata.fields import MAX_CHARS, clean_metadata, merge_metadata, to_iso_date
from newsimg.storage.metadata.lazy import with_metadata
from newsimg.storage.metadata.reading import add_embedded, read_metadata

NAMESPACES = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
    'xmlns:cc="http://creativecommons.org/ns#"'
)
EXPECTED = {
    "title": "Flut in Älvsund",
    "caption": "A ferry in the harbour of Älvsund",
    "keywords": "ferry, harbour",
    "date": "2020-01-02T03:04:05",
    "place": "Älvsund, Sweden",
    "credit": "Kestrel Media",
    "source": "Archive",
    "author": "Åsa Lindqvist",
}
XMP_ARGUMENTS = [
    "-XMP-photoshop:Headline=Flut in Älvsund", "-XMP-dc:Title=REF-17",
    "-XMP-dc:Description=A ferry in the harbour of Älvsund",
    "-XMP-dc:Subject=ferry", "-XMP-dc:Subject=harbour",
    "-XMP-photoshop:DateCreated=2020:01:02 03:04:05",
    "-XMP-photoshop:City=Älvsund", "-XMP-photoshop:Country=Sweden",
    "-XMP-photoshop:Credit=Kestrel Media", "-XMP-photoshop:Source=Archive",
    "-XMP-dc:Creator=Åsa Lindqvist",
]  # fmt: skip
IPTC_ARGUMENTS = [
    "-IPTC:Headline=Flut in Älvsund", "-IPTC:ObjectName=REF-17",
    "-IPTC:Caption-Abstract=A ferry in the harbour of Älvsund",
    "-IPTC:Keywords=ferry", "-IPTC:Keywords=harbour",
    "-IPTC:DateCreated=2020:01:02", "-IPTC:TimeCreated=03:04:05",
    "-IPTC:City=Älvsund", "-IPTC:Country-PrimaryLocationName=Sweden",
    "-IPTC:Credit=Kestrel Media", "-IPTC:Source=Archive", "-IPTC:By-line=Åsa Lindqvist",
]  # fmt: skip
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")


def draw(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PILImage.new("RGB", (32, 24), (10, 200, 30)).save(buffer, kind, **options)
    return buffer.getvalue()


def write_with_exiftool(folder: Path, suffix: str, kind: str, arguments: list[str]) -> bytes:
    plain, written = folder / f"plain{suffix}", folder / f"written{suffix}"
    plain.write_bytes(draw(kind))
    subprocess.run(["exiftool", "-q", "-q", "-o", str(written), *arguments, str(plain)], check=True)
    return written.read_bytes()


def pack_xmp(properties: str, attributes: str = "") -> bytes:
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {NAMESPACES}>'
        f'<rdf:Description rdf:about="" {attributes}>{properties}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def pack_records(records: dict[int, bytes | list[bytes]], marker: bool = False) -> bytes:
    content = struct.pack(">BBBH", 0x1C, 1, 90, 3) + b"\x1b%G" if marker else b""
    for dataset, values in records.items():
        for value in values if isinstance(values, list) else [values]:
            content += struct.pack(">BBBH", 0x1C, 2, dataset, len(value)) + value
    return content


def add_iptc(jpeg: bytes, records: bytes, digest: bytes | None = None) -> bytes:
    """Return a JPEG with IPTC records in a Photoshop segment, after the start marker."""
    resources = b""
    for number, data in ((0x0404, records), (0x0425, digest)):
        if data is not None:
            padded = data + b"\0" * (len(data) % 2)
            resources += b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + padded
    segment = b"Photoshop 3.0\0" + resources
    return jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@needs_exiftool
@pytest.mark.parametrize(
    ("suffix", "kind", "group"),
    [
        (".jpg", "JPEG", XMP_ARGUMENTS),
        (".png", "PNG", XMP_ARGUMENTS),
        (".tif", "TIFF", XMP_ARGUMENTS),
        (".jpg", "JPEG", [*IPTC_ARGUMENTS, "-codedcharacterset=utf8"]),
        (".tif", "TIFF", [*IPTC_ARGUMENTS, "-codedcharacterset=utf8"]),
        (".jpg", "JPEG", [*IPTC_ARGUMENTS, "-charset", "iptc=Latin"]),
    ],
)
def test_words_written_by_exiftool_are_read(
    tmp_path: Path, suffix: str, kind: str, group: list[str]
) -> None:
    content = write_with_exiftool(tmp_path, suffix, kind, group)
    values, n_cut = read_metadata(content)
    values["date"] = values["date"][:19]  # a time zone is added to a time without one
    assert (values, n_cut) == (EXPECTED, 0)


@needs_exiftool
@pytest.mark.parametrize(("suffix", "kind"), [(".jpg", "JPEG"), (".png", "PNG"), (".tif", "TIFF")])
def test_exif_texts_written_by_exiftool_are_read(tmp_path: Path, suffix: str, kind: str) -> None:
    arguments = [
        "-EXIF:ImageDescription=Fähre", "-EXIF:Artist=Åsa", "-EXIF:Copyright=CC BY 4.0",
        "-EXIF:DateTimeOriginal=2020:01:02 03:04:05", "-EXIF:XPKeywords=ferry;harbour",
        "-GPSLatitude=59.5", "-GPSLatitudeRef=N", "-GPSLongitude=18.25", "-GPSLongitudeRef=W",
    ]  # fmt: skip
    values, n_cut = read_metadata(write_with_exiftool(tmp_path, suffix, kind, arguments))
    assert n_cut == 0
    assert values == {
        "caption": "Fähre", "keywords": "ferry, harbour", "date": "2020-01-02T03:04:05",
        "place": "59.5000, -18.2500", "author": "Åsa", "licence": "CC BY 4.0",
    }  # fmt: skip


@needs_exiftool
def test_exiftools_guidelines_agree_where_a_program_has_changed_the_iptc_records_alone(
    tmp_path: Path,
) -> None:
    """ExifTool's own MWG tags are the oracle, with and without a digest that still holds."""
    both = ["-use", "MWG", "-MWG:Description=old words"]
    path = tmp_path / "written.jpg"
    write_with_exiftool(tmp_path, ".jpg", "JPEG", ["-IPTC:City=x", *both])
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-EXIF:all=", str(path)], check=True)
    for arguments in (
        ["-XMP-dc:Description=new XMP"],  # the digest holds: XMP
        ["-IPTC:Caption-Abstract=new IPTC"],  # it does not: IPTC
    ):
        subprocess.run(["exiftool", "-q", "-overwrite_original", *arguments, path], check=True)
        shown = subprocess.run(
            ["exiftool", "-use", "MWG", "-s3", "-MWG:Description", path],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        assert read_metadata(path.read_bytes())[0]["caption"] == shown


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_xmp_of_every_format_is_read(kind: str) -> None:
    packet = pack_xmp(
        '<dc:description><rdf:Alt><rdf:li xml:lang="de">Fähre</rdf:li>'
        '<rdf:li xml:lang="x-default">Ferry</rdf:li></rdf:Alt></dc:description>'
        "<dc:subject><rdf:Bag><rdf:li>a</rdf:li><rdf:li>b</rdf:li></rdf:Bag></dc:subject>"
        '<cc:license rdf:resource="https://creativecommons.org/licenses/by/4.0/"/>',
        'photoshop:City="Älvsund"',
    )
    options: dict[str, object] = {"xmp": packet}
    if kind == "PNG":
        from PIL import PngImagePlugin

        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
        options = {"pnginfo": texts}
    if kind == "TIFF":
        options = {"tiffinfo": TiffImagePlugin.ImageFileDirectory_v2()}
        options["tiffinfo"][700] = packet  # type: ignore[index]
    assert read_metadata(draw(kind, **options)) == (
        {
            "caption": "Ferry", "keywords": "a, b", "place": "Älvsund",
            "licence": "https://creativecommons.org/licenses/by/4.0/",
        },
        0,
    )  # fmt: skip


def test_records_without_a_marker_are_read_as_utf_8_or_else_as_latin_1() -> None:
    jpeg = draw("JPEG")
    for text, marker in (("Ä".encode(), True), ("Ä".encode(), False), (b"\xc4", False)):
        content = add_iptc(jpeg, pack_records({120: text}, marker))
        assert read_metadata(content) == ({"caption": "Ä"}, 0)


def test_xmp_comes_first_unless_the_digest_says_that_the_records_are_newer() -> None:
    jpeg = draw("JPEG", xmp=pack_xmp("", 'photoshop:Credit="XMP" photoshop:Headline="long text"'))
    records = pack_records({110: b"IPTC", 115: b"Source", 105: b"long"})
    holds = hashlib.md5(records).digest()
    for digest, credit in ((None, "XMP"), (holds, "XMP"), (b"0" * 16, "IPTC")):
        values, _ = read_metadata(add_iptc(jpeg, records, digest))
        # What one of the two lacks comes from the other; a record may be cut to IPTC's length.
        assert values == {"title": "long text", "credit": credit, "source": "Source"}


def test_exif_fills_in_texts_and_its_date_comes_first() -> None:
    exif = PILImage.Exif()
    exif[0x010E], exif[0x013B] = "OLYMPUS DIGITAL CAMERA", "A. Lind"
    exif.get_ifd(0x8769)[0x9003] = "2021:05:06 07:08:09"
    jpeg = draw("JPEG", exif=exif)
    values, _ = read_metadata(add_iptc(jpeg, pack_records({120: b"Ferry", 55: b"20200102"})))
    assert values == {"caption": "Ferry", "date": "2021-05-06T07:08:09", "author": "A. Lind"}


def test_long_values_are_cut_and_control_characters_removed_with_a_count() -> None:
    long = [b"x" * 3000, b"y\0\x1b\xe2\x80\xaez"]  # one of them reverses the text after it
    values, n_cut = read_metadata(
        add_iptc(draw("JPEG"), pack_records({120: long[0], 110: long[1]}, marker=True))
    )
    assert values == {"caption": "x" * MAX_CHARS, "credit": "y z"}
    assert n_cut == 1
    many = [str(i).encode() for i in range(5000)]
    values, n_cut = read_metadata(add_iptc(draw("JPEG"), pack_records({25: many})))
    assert values["keywords"] == ", ".join(map(str, range(100)))
    assert n_cut == 1


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1 if i else str()};" * 10}">' for i in range(9))
    + "]><b>&a8;</b>"
).encode()


@pytest.mark.parametrize(
    "packet",
    [
        BOMB,
        b'<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]><b>&a;</b>',
        b"no XML",
        b"\xff\xfe" * 40,
        b"",
    ],
    ids=["bomb", "file", "text", "charset", "empty"],
)
def test_hostile_xmp_is_dropped_and_the_other_words_are_kept(packet: bytes) -> None:
    jpeg = add_iptc(draw("JPEG", xmp=packet), pack_records({110: b"Kestrel"}))
    assert read_metadata(jpeg) == ({"credit": "Kestrel"}, 1 if packet else 0)


def test_deeply_nested_and_too_large_xmp_is_dropped_or_ignored() -> None:
    depth = 100_000
    nested = pack_xmp("<dc:title>" + "<a>" * depth + "</a>" * depth + "</dc:title>")
    assert read_metadata(draw("WEBP", xmp=nested)) == ({}, 0)
    large = pack_xmp("<dc:source>" + "x" * (1 << 20) + "</dc:source>")
    assert read_metadata(draw("WEBP", xmp=large)) == ({}, 1)


@pytest.mark.parametrize("nested", [False, True])
def test_exif_directories_of_thousands_of_entries_are_dropped(nested: bool) -> None:
    """Each of them refers to 60,000 bytes, so that 65,000 bytes would become 300 MB."""
    n = 5000
    entries = struct.pack("<H", n)
    entries += b"".join(struct.pack("<HHII", i + 1, 2, 60_000, 8) for i in range(n))
    header, directory = b"Exif\0\0II*\0" + struct.pack("<I", 8), entries
    if nested:
        directory = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0) + entries
    data = (header + directory + b"\0" * 4)[:65_000]
    jpeg = add_iptc(draw("JPEG"), pack_records({110: b"Kestrel"}))
    segment = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    assert read_metadata(jpeg[:2] + segment + jpeg[2:]) == ({"credit": "Kestrel"}, 1)


def test_cut_off_and_random_bytes_are_never_an_error() -> None:
    packet = pack_xmp("<dc:source>x</dc:source>", 'photoshop:City="a"')
    exif = PILImage.Exif()
    exif[0x010E] = "text"
    jpeg = add_iptc(draw("JPEG", xmp=packet, exif=exif), pack_records({120: b"words"}))
    known = {"caption": "words", "place": "a"}
    assert read_metadata(jpeg)[0] == known
    for end in range(len(jpeg)):
        read_metadata(jpeg[:end])
    start = jpeg.find(b"Exif")
    for position in range(start, start + 60):
        changed = bytearray(jpeg)
        changed[position] ^= 0xFF
        values, _ = read_metadata(bytes(changed))
        assert values in ({}, known) or values["caption"] == "words"
    assert read_metadata(b"") == read_metadata(b"no picture") == ({}, 0)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2020:01:02 03:04:05", "2020-01-02T03:04:05"),
        ("20200102", "2020-01-02"),
        ("20200102T030405+0100", "2020-01-02T03:04:05+0100"),
        ("2020-01-02T03:04:05.25Z", "2020-01-02T03:04:05Z"),
        ("2010-05-06 07:08:09.0", "2010-05-06T07:08:09"),
        ("2020-05", "2020-05"),
        ("20200500", "2020-05"),
        ("2020", "2020"),
        ("0000:00:00 00:00:00", ""),
        ("2020-02-31", ""),
        ("yesterday", ""),
    ],
)
def test_dates_of_all_forms_become_iso_dates(text: str, date: str) -> None:
    assert to_iso_date(text) == date


def test_what_is_given_beside_a_picture_comes_before_its_own_words(tmp_path: Path) -> None:
    content = add_iptc(draw("JPEG"), pack_records({120: b"own caption", 110: b"own credit"}))
    given = {"caption": "given", "licence": "CC0"}
    merged = {"caption": "given", "credit": "own credit", "licence": "CC0"}
    assert add_embedded(given, content) == (merged, 0)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    image = with_metadata(Image("a", path, metadata=given))
    assert image.metadata is not None
    assert image.metadata["licence"] == "CC0"
    path.rename(tmp_path / "b.jpg")
    assert with_metadata(Image("a", path)).metadata == {}  # whoever needs the pixels says why
    assert dict(with_metadata(Image("b", tmp_path / "b.jpg", metadata=given)).metadata or {}) == (
        merged
    )


def test_other_names_of_fields_are_known_and_the_own_name_comes_first() -> None:
    given = {"tags": ["a", "b", "a"], "license": "x", "licence": "CC0", "page_url": "javascript:1"}
    assert clean_metadata(given) == ({"keywords": "a, b", "licence": "CC0"}, 1)
    assert merge_metadata({"title": ""}, {"title": "own"}) == ({"title": "own"}, 0)
