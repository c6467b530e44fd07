"""A real server of real models: `transformers serve` on loopback."""

import base64
import time
import urllib.request
from pathlib import Path

import pytest
from free_ports import reserve_port
from test_served import ANSWERS, make_llm, make_vlm
from tiny_models import draw_pictures, make_idefics
from transformers.utils.import_utils import is_serve_available

import newsimg
from newsimg.datatypes import Image
from newsimg.llm.chat_answers import ServerError
from newsimg.llm.transformers_llm import TransformersLLM
from newsimg.vlm.openai_vlm import write_data_url
from newsimg.vlm.transformers_vlm import TransformersVLM

if not is_serve_available():
    pytest.skip("transformers serve wants fastapi, uvicorn and openai", allow_module_level=True)

SAMPLE_LLM = str(Path(newsimg.__file__).parent / "sample" / "llm")
LOCAL = {"revision": "main", "dtype": "float32", "device": "cpu", "batch_size": 1}
SLOW = {"timeout": 60, "retries": 0, "concurrency": 2}
QUESTIONS = ["Rate the technical quality of this picture.", "Is it an unaltered photograph?"]


@pytest.fixture(scope="module")
def url():
    """The address of a server that loads whatever model a request names."""
    from transformers.cli.serve import Serve

    port = reserve_port()
    settings = {"device": "cpu", "dtype": "float32", "log_level": "error"}
    server = Serve(host="127.0.0.1", port=port, non_blocking=True, **settings)
    try:
        while not server.server.started:
            assert server._thread.is_alive()
            time.sleep(0.02)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as response:
            assert response.status == 200
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill_server()


def test_the_samples_language_model_writes_the_same_served_as_loaded(url):
    titles = ("Storm hits the harbour", "Milk prices fall again")
    chats = [[{"role": "user", "content": f"Describe a picture.\nHeadline: {t}"}] for t in titles]
    # This server names its models with their revision.
    with pytest.raises(ServerError, match=r"asked for '.*llm', but '.*llm@main' answered"):
        make_llm(url, SAMPLE_LLM, **SLOW).generate(chats[:1], None)
    served = make_llm(url, SAMPLE_LLM, answers_as=f"{SAMPLE_LLM}@main", **SLOW)
    settings = {"max_new_tokens": 50, "temperature": 0.7, "top_p": 0.9}
    local = TransformersLLM(model=SAMPLE_LLM, **settings, **LOCAL)
    answers = served.generate(chats, None)
    assert answers == local.generate(chats, None)
    assert all(answers)


@pytest.mark.slow
def test_a_vision_language_model_sees_the_same_pictures_served_as_loaded(url, tmp_path):
    # Not the sample's: for its kind, Qwen2-VL, this server also loads what reads videos, and that
    # wants torchvision.
    model = make_idefics(tmp_path / "idefics3", "idefics3")
    settings = {"share_prefix": False, "answer_prefix": "", "max_new_tokens": 8}
    local = TransformersVLM(model=model, **settings, **LOCAL)
    named = {"model": model, "answers_as": f"{model}@main"}
    written = []
    for path in draw_pictures(tmp_path / "pictures", [(120, 60), (50, 64)]):
        picture = write_data_url(Image(path.stem, path), 100, 90)
        jpeg = path.with_suffix(".jpg")
        jpeg.write_bytes(base64.b64decode(picture.partition(",")[2]))
        parts = [{"type": "image_url", "image_url": {"url": picture}}]
        chats = [
            [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
            for question in QUESTIONS
        ]
        written.append(make_llm(url, max_new_tokens=8, **named, **SLOW).generate(chats, None))
        assert written[-1] == local.write([Image(path.stem, jpeg)], [QUESTIONS])[0]
    assert written[0] != written[1]  # so it is the picture that decides
    vlm = make_vlm(url, server=SLOW, **named)
    image = Image("0", tmp_path / "pictures" / "0.png")
    assert [len(own) for own in vlm.write([image], [QUESTIONS])] == [2]
    # This server ignores what it does not know, such as logprobs: the client must notice.
    with pytest.raises(ServerError, match="tells no probabilities of tokens"):
        vlm.ask([image], [QUESTIONS[:1]], ANSWERS)
