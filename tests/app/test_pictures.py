"""Pictures of pages: only what is shown is sent, browsers keep it, uploads are checked."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from json_requests import ask, post
from PIL import Image as PILImage

from newsimg.app.pictures import N_UPLOADS, Pictures, make_router
from newsimg.app.server import create_app, serve
from newsimg.datatypes import Image


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def address(pictures: Pictures) -> Iterator[str]:
    with serve(create_app([make_router(pictures)]), None) as url:
        yield url


def encode(colour: str, kind: str = "PNG", size: tuple[int, int] = (300, 100)) -> bytes:
    buffer = io.BytesIO()
    PILImage.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def test_a_shown_picture_is_sent_whole_and_small_and_kept_by_the_browser(
    address: str, pictures: Pictures, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode("red", "PNG"))  # whatever its name says
    links = pictures.add([Image("folder/a b", path, metadata={"author": "Ada"})])["folder/a b"]
    status, content, headers = ask(address + links["full"])
    assert (status, content, headers["Content-Type"]) == (200, path.read_bytes(), "image/png")
    assert links["full"].endswith("/a%20b")
    status, content, headers = ask(address + links["thumb"])
    with PILImage.open(io.BytesIO(content)) as thumb:
        assert (thumb.format, thumb.size) == ("WEBP", (230, 77))
    assert "immutable" in headers["Cache-Control"]
    again = ask(address + links["thumb"], {"If-None-Match": headers["ETag"]})
    assert again[:2] == (304, b"")
    _, about = post(f"{address}/pictures/about", {"keys": [links["key"]]})
    sizes = {"width": 300, "height": 100, "bytes": path.stat().st_size}
    assert about == {links["key"]: sizes | {"metadata": {"author": "Ada"}}}
    path.write_bytes(encode("blue", "PNG"))
    assert pictures.add([Image("folder/a b", path)])["folder/a b"]["key"] != links["key"]


def test_a_picture_with_a_digest_has_the_same_address_in_the_next_run(tmp_path: Path) -> None:
    image = Image("a", tmp_path / "a.jpg", digest="0" * 64)
    assert Pictures().add([image]) == Pictures().add([image])


def test_what_is_not_shown_cannot_be_requested(address: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encode("red"))
    for place in (
        *("/pictures/secret.png/thumb.webp", f"/pictures/{'0' * 40}/whole/a"),
        f"/pictures/..%2f..{str(tmp_path).replace('/', '%2f')}%2fsecret.png/whole/a",
    ):
        status, content, _ = ask(address + place)
        assert status == 404
        assert "message" in json.loads(content)
    assert post(f"{address}/pictures/about", {"keys": ["x"]})[0] == 404


def test_a_vanished_or_broken_picture_is_a_message(
    address: str, pictures: Pictures, tmp_path: Path
) -> None:
    (tmp_path / "page.jpg").write_text("<script>alert(1)</script>")
    gone, page = pictures.add(
        [Image("gone", tmp_path / "gone.jpg"), Image("page", tmp_path / "page.jpg")]
    ).values()
    assert ask(address + gone["thumb"])[0] == 404
    status, content, _ = ask(address + gone["full"])
    assert status == 400
    assert json.loads(content)["message"].startswith("no picture ")
    assert ask(address + page["full"])[2]["Content-Type"] == "application/octet-stream"
    _, about = post(f"{address}/pictures/about", {"keys": [gone["key"]]})
    assert about == {gone["key"]: {"metadata": {}}}


def test_uploads_are_kept_in_memory_and_the_oldest_goes_first(
    address: str, pictures: Pictures, tmp_path: Path
) -> None:
    found = []
    for shade in range(N_UPLOADS + 1):
        content = encode(f"rgb({shade},0,0)")
        status, answer, _ = ask(f"{address}/pictures/uploads", {}, content)
        assert status == 200
        found.append(json.loads(answer))
    assert (found[-1]["width"], found[-1]["height"]) == (300, 100)
    assert pictures.find_upload(found[-1]["key"]).content == content
    assert ask(address + found[-1]["thumb"])[0] == 200
    with pytest.raises(ValueError, match="is not on the server any more"):
        pictures.find_upload(found[0]["key"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_upload_that_is_no_picture_or_too_large_to_decode_is_refused(address: str) -> None:
    bomb = io.BytesIO()
    PILImage.new("1", (11_000, 11_000)).save(bomb, "PNG")
    cut = encode("red", "JPEG", (900, 900))[:-300]
    for content, said in (
        (b"", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (bomb.getvalue(), "it has 11000 x 11000 pixels, at most 100,000,000 are read"),
        (cut, "truncated"),
    ):
        status, answer, _ = ask(f"{address}/pictures/uploads", {}, content)
        message = json.loads(answer)["message"]
        assert status == 400
        assert message.startswith("the uploaded file cannot be searched for: ")
        assert said in message
