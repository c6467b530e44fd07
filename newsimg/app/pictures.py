"""Pictures on pages: thumbnails, originals and uploads, by a key of their content."""

import base64
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from PIL import Image as PILImage
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from newsimg.app.server import not_found
from newsimg.datatypes import Image
from newsimg.reporting.pages.assemble import drop_empty
from newsimg.reporting.thumbnails import SCALES, Thumbnail, draw_thumbnail, make_thumbnail
from newsimg.storage.pictures.formats import open_picture
from newsimg.storage.pictures.images import (
    LoadedImage,
    decode_picture,
    measure_picture,
    read_header,
    read_image,
)

T = TypeVar("T")
N_SHOWN = 20_000  # pictures of which the keys are kept
N_UPLOADS = 8
MAX_UPLOAD_PIXELS = 100_000_000
# A picture's key depends on its content, so what browsers keep is never out of date.
CACHING = "private, max-age=31536000, immutable"
UNKNOWN = "this picture is not shown any more: search again"


class Keys(BaseModel):
    """Keys of pictures."""

    keys: list[str]


class Pictures:
    """The pictures that pages show. Only those that were added can be requested; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: OrderedDict[str, Image] = OrderedDict()
        self._uploads: OrderedDict[str, tuple[LoadedImage, Thumbnail | None]] = OrderedDict()

    def add(self, images: Iterable[Image]) -> dict[str, dict[str, str]]:
        """Make pictures available; return their id, key and URLs, by id."""
        found = {}
        for image in images:
            key = make_key(image)
            with self._lock:
                keep_latest(self._shown, key, image, N_SHOWN)
            found[image.image_id] = link_picture(image, key)
        return found

    def add_upload(self, content: bytes) -> dict[str, Any]:
        """Keep an uploaded picture in memory, in place of the oldest one; return its description.

        Raises:
            ValueError: If it is no picture, is damaged, or has too many pixels.
        """
        try:
            width, height = read_header(content)
            if width * height > MAX_UPLOAD_PIXELS:
                raise ValueError(
                    f"it has {width} x {height} pixels, at most {MAX_UPLOAD_PIXELS:,} are read"
                )
            decode_picture(content)
        except ValueError as error:
            raise ValueError(f"the uploaded file cannot be searched for: {error}") from error
        digest = hashlib.sha256(content).hexdigest()
        image = LoadedImage("upload", Path("upload"), digest=digest, content=content)
        thumb = make_thumbnail(image, SCALES[0])
        key = make_key(image)
        with self._lock:
            keep_latest(self._uploads, key, (image, thumb), N_UPLOADS)
        return link_picture(image, key) | describe_sizes(*measure_picture(content), len(content))

    def find_upload(self, key: str) -> LoadedImage:
        """Return an uploaded picture.

        Raises:
            ValueError: If the server does not have it any more.
        """
        with self._lock:
            if key not in self._uploads:
                raise ValueError(
                    "the uploaded picture is not on the server any more, which keeps the last "
                    f"{N_UPLOADS} until it ends: choose the picture again"
                )
            return self._uploads[key][0]

    def find(self, key: str) -> Image:
        """Return a picture; error 404 if it was not added."""
        with self._lock:
            if key in self._uploads:
                return self._uploads[key][0]
            if key in self._shown:
                return self._shown[key]
        raise not_found(UNKNOWN)

    def draw(self, key: str) -> Thumbnail | None:
        """Return a picture's thumbnail, None if it cannot be read; error 404 as in `find`."""
        image = self.find(key)
        if isinstance(image, LoadedImage):
            with self._lock:
                return self._uploads[key][1]
        return draw_thumbnail(image, SCALES[0])

    def describe(self, key: str) -> dict[str, Any]:
        """Return a picture's sizes and metadata; error 404 as in `find`."""
        metadata = {"metadata": drop_empty(self.find(key).metadata or {})}
        thumb = self.draw(key)
        if thumb is None:
            return metadata
        return describe_sizes(thumb.width, thumb.height, thumb.n_bytes) | metadata


def keep_latest(kept: OrderedDict[str, T], key: str, value: T, n: int) -> None:
    """Add a value as the latest, and drop the oldest ones above `n`."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > n:
        kept.popitem(last=False)


def make_key(image: Image) -> str:
    """Return a key of a picture's id and content, which is its digest or else its file's state."""
    content = image.digest
    if content is None:
        try:
            state = image.path.stat()
            content = f"{image.uri} {state.st_mtime_ns} {state.st_size}"
        except OSError:
            content = image.uri
    return hashlib.sha256(f"{image.image_id} {content} {image.truncated}".encode()).hexdigest()[:40]


def link_picture(image: Image, key: str) -> dict[str, str]:
    """Return a picture's id, key and URLs."""
    name = quote(image.image_id.split("/")[-1], safe="")
    links = {"thumb": f"/pictures/{key}/thumb.webp", "full": f"/pictures/{key}/whole/{name}"}
    return {"id": image.image_id, "key": key} | links


def describe_sizes(width: int, height: int, n_bytes: int) -> dict[str, int]:
    """Return the sizes of a picture as the picture view shows them."""
    return {"width": width, "height": height, "bytes": n_bytes}


def make_router(pictures: Pictures) -> APIRouter:
    """Return the routes of pictures."""
    router = APIRouter(prefix="/pictures")

    @router.get("/{key}/thumb.webp")
    def send_thumbnail(key: str, request: Request) -> Response:
        thumb = pictures.draw(key)
        if thumb is None:
            raise not_found("this picture cannot be read")
        return send_kept(request, key, base64.b64decode(thumb.data), "image/webp")

    @router.get("/{key}/whole/{name}")
    def send_whole(key: str, name: str, request: Request) -> Response:
        content = read_image(pictures.find(key))
        try:
            with open_picture(content) as picture:
                kind = PILImage.MIME.get(picture.format or "", "")
        except ValueError:
            kind = ""
        return send_kept(request, key, content, kind or "application/octet-stream")

    @router.post("/about")
    def describe(asked: Keys) -> Mapping[str, Any]:
        return {key: pictures.describe(key) for key in asked.keys}

    @router.post("/uploads")
    async def upload(request: Request) -> Mapping[str, Any]:
        return await run_in_threadpool(pictures.add_upload, await request.body())

    return router


def send_kept(request: Request, key: str, content: bytes, kind: str) -> Response:
    """Answer with bytes that the browser keeps."""
    headers = {"Cache-Control": CACHING, "ETag": f'"{key}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
