"""A chat server for tests with deterministic answers, injected faults and counts of requests."""

import base64
import hashlib
import io
import json
import math
import socket
import struct
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image as PILImage

FAULTS = ("429", "500", "truncated", "short", "reset", "slow")


def caption_of(title):
    return f"a photograph of {title}; {title} by night"


def ratings_of(average, question):
    """Return probabilities of 1 to 5 that depend on the picture and the question."""
    digest = hashlib.sha256(question.encode()).digest()
    parts = [1 + digest[i] % 7 + (average // 16 if i == 2 else 0) for i in range(5)]
    return [0.9 * part / sum(parts) for part in parts]


class ChatServer(ThreadingHTTPServer):
    """Serves /v1/chat/completions on localhost.

    Attributes:
        fault: Function of a text and its number of earlier requests that returns the fault of a
            request.
        answered: Number of complete answers for each text (with its picture).
        asked: Number of requests for each text (with its picture), including failed ones.
        bodies: Body and headers of every request.
        on_answer: Function called with the number of answers after each answer.
        distort: Function that returns the bytes of an answer with the fault "odd".
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port=0, fault=lambda text, n_before: "none", model="tiny"):
        super().__init__(("127.0.0.1", port), Handler)
        self.fault = fault
        self.model = model
        self.answered, self.asked = Counter(), Counter()
        self.bodies = []
        self.on_answer = lambda n_answered: None
        self.distort = lambda answer: json.dumps(answer).encode()
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        """Log nothing if a client closes the connection, as some tests do."""


@contextmanager
def serve(**settings):
    server = ChatServer(**settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # it would add 40 ms to every answer

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key, text, answer = answer_chat(body)
        with self.server.lock:
            n_before = self.server.asked[key]
            self.server.asked[key] += 1
            self.server.bodies.append((body, dict(self.headers)))
        fault = self.server.fault(text, n_before)
        getattr(self, f"send_{fault}" if not fault.isdigit() else "send_status")(
            {"model": body["model"], "choices": [answer]}, key, fault
        )

    def send(self, status, content, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_none(self, answer, key, fault):
        with self.server.lock:
            self.server.answered[key] += 1
            n_answered = sum(self.server.answered.values())
        self.send(200, json.dumps(answer).encode())
        self.server.on_answer(n_answered)

    def send_status(self, answer, key, fault):
        headers = {"Retry_After": "0"} if fault == "429" else {}
        said = f"refused, {self.headers.get('Authorization')} was sent"
        self.send(int(fault), said.encode(), **headers)

    def send_slow(self, answer, key, fault):
        self.connection.recv(1)  # until the client closes the connection after its timeout
        self.close_connection = True

    def send_truncated(self, answer, key, fault):
        self.send(200, json.dumps(answer).encode()[:-9])

    def send_short(self, answer, key, fault):
        """Send fewer bytes than announced."""
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())
        self.close_connection = True

    def send_reset(self, answer, key, fault):
        # A linger time of 0 makes the kernel send a reset instead of closing the connection.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def send_other_model(self, answer, key, fault):
        self.send(200, json.dumps(answer | {"model": "small-cheap-model"}).encode())

    def send_odd(self, answer, key, fault):
        self.send(200, self.server.distort(answer))

    def send_plain(self, answer, key, fault):
        """Answer without probabilities, like servers that do not support the field."""
        answer["choices"][0].pop("logprobs", None)
        self.send_none(answer, key, fault)


def answer_chat(body):
    content = next(own["content"] for own in body["messages"][::-1] if own["role"] == "user")
    if isinstance(content, str):
        title = content.rpartition(": ")[2]
        return content, content, {"message": {"content": caption_of(title)}}
    if sum("image_url" in part for part in content) > 1:
        return answer_list(content, body.get("logprobs"))
    picture, question = content
    url = picture["image_url"]["url"]
    data = url.partition(",")[2]
    shares = ratings_of(measure(url), question["text"])
    best = shares.index(max(shares)) + 1
    answer = {"message": {"content": f"Rating: {best}."}}
    if body.get("logprobs"):
        tokens = [{"token": f" {i + 1}", "logprob": math.log(p)} for i, p in enumerate(shares)]
        # A digit may be written with and without a space; "10" and "5." are other tokens.
        tokens += [
            {"token": token, "logprob": math.log(0.01)} for token in ("5", "10", "5.", "The")
        ]
        answer["logprobs"] = {"content": [{"token": " 1", "top_logprobs": tokens}]}
    return (
        f"{hashlib.sha256(data.encode()).hexdigest()} {question['text']}",
        question["text"],
        answer,
    )


def answer_list(content, logprobs=False):
    """Answer with the numbers of several pictures, brightest first, as likely as they are bright.

    A probability is half of the brightness' share.
    """
    texts = [part["text"] for part in content if "text" in part]
    urls = [part["image_url"]["url"] for part in content if "image_url" in part]
    averages = [measure(url) for url in urls]
    order = sorted(range(len(urls)), key=lambda i: -averages[i])
    text = "|".join(texts)
    answer = {"message": {"content": " > ".join(f"[{i + 1}]" for i in order)}}
    if logprobs:
        tokens = [
            {"token": str(i + 1), "logprob": math.log(average / sum(averages) / 2)}
            for i, average in enumerate(averages)
        ]
        answer["logprobs"] = {"content": [{"token": "1", "top_logprobs": tokens}]}
    return text, text, answer


def measure(url):
    """Return the average brightness of a picture."""
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    with PILImage.open(io.BytesIO(base64.b64decode(data))) as opened:
        assert opened.format == "JPEG"
        return opened.convert("L").resize((1, 1), PILImage.Resampling.BOX).getpixel((0, 0))
