"""A local S3 bucket for tests: moto's server with injected faults."""

import socket
import struct
import threading
from collections import Counter
from contextlib import contextmanager

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "pictures"
SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class BucketServer:
    """Serves moto's S3, injects faults and counts requests.

    Attributes:
        fault: Function of an object's key and its number of earlier requests that returns the fault
            of a request: "throttle", "short", "reset", "altered" or "none".
        asked: Number of requests of each object, including failed ones.
        on_read: Function called before each read.
    """

    def __init__(self):
        self.app = DomainDispatcherApplication(create_backend_app)
        self.server = make_server("127.0.0.1", 0, self.serve, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.lock = threading.Lock()
        self.heal()
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.client = boto3.session.Session().client(
            "s3", region_name="us-west-2", endpoint_url=self.url, **keys
        )

    def heal(self):
        """Remove all faults and reset the counts."""
        self.fault = lambda key, n_before: "none"
        self.on_read = lambda key: None
        self.asked = Counter()

    def make_bucket(self, name=BUCKET):
        place = {"LocationConstraint": "us-west-2"}
        self.client.create_bucket(Bucket=name, ACL="public-read", CreateBucketConfiguration=place)

    def put(self, key, content, acl="public-read"):
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content, ACL=acl)

    def empty(self):
        """Delete all buckets and reset."""
        self.client._endpoint.http_session.close()
        import urllib.request

        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request).close()
        self.heal()

    def serve(self, environ, start_response):
        key = environ["PATH_INFO"].removeprefix(f"/{BUCKET}/")
        if environ["REQUEST_METHOD"] != "GET" or "/" not in key or environ["QUERY_STRING"]:
            return self.app(environ, start_response)
        with self.lock:
            fault = self.fault(key, self.asked[key])
            self.asked[key] += 1
        self.on_read(key)
        if fault == "throttle":
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [SLOW_DOWN]
        answer = self.app(environ, start_response)
        return answer if fault == "none" else damage(b"".join(answer), fault, environ)


def damage(content, fault, environ):
    """Send altered or incomplete content with the original length in the header."""
    if fault == "altered":
        yield content[:-1] + bytes([content[-1] ^ 1])
        return
    yield content[: len(content) // 2]
    connection = environ["werkzeug.socket"]
    if fault == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR) if fault == "short" else connection.close()


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *arguments):
        """Log nothing."""


@contextmanager
def bucket_server():
    server = BucketServer()
    thread = threading.Thread(target=server.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        thread.join()
        server.server.server_close()
