"""The judging page behind nginx, with the configuration of the README."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from free_ports import reserve_port
from test_judging_page import OWNER, Served, served

import newsimg

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
README = Path(newsimg.__file__).parent / "app" / "judging" / "README.md"
__all__ = ["served"]


def read_block(url: str) -> str:
    """Return the README's configuration for a server."""
    (block,) = re.findall(r"```nginx\n(.+?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return block.replace("127.0.0.1:7860", url.removeprefix("http://"))


def get(url: str, **headers: str) -> tuple[int, str]:
    request = Request(url, headers={name.replace("_", "-"): v for name, v in headers.items()})
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, json.loads(error.read())["message"]


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")
def test_the_readmes_configuration_serves_the_page_below_a_path(
    served: Served, tmp_path: Path
) -> None:
    port = reserve_port()
    config = tmp_path / "nginx.conf"
    server = f"server {{ listen 127.0.0.1:{port}; {read_block(served.url)} }}"
    places = "".join(
        f"{name}_temp_path {tmp_path / name}; "
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"pid {tmp_path / 'pid'}; error_log stderr; daemon off; master_process off; events {{}} "
        f"http {{ access_log off; {places} {server} }}"
    )
    command = [str(NGINX), "-c", str(config), "-p", str(tmp_path), "-e", "stderr"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}/judging"
    try:
        for _ in range(100):
            try:
                _, page = get(f"{url}/")
                break
            except URLError:
                time.sleep(0.05)
        linked = re.findall(r'(?:href|src)="([^":]+\.(?:css|js))"', page)
        assert len(linked) == 3
        for name in linked:
            assert get(f"{url}/{name}")[0] == 200
        own = {"Authorization": f"Bearer {OWNER}", "Origin": "https://news.example"}
        status, results = get(f"{url}/judge/results", **own, Sec_Fetch_Site="same-origin")
        assert (status, json.loads(results)["preference"]) == (200, None)
        assert get(f"{url}/judge/results", **own, Sec_Fetch_Site="cross-site")[0] == 403
        served.access._used.clear()
        told = [{"X_Forwarded_For": f"198.51.100.{i}"} for i in range(61)]
        codes = [get(f"{url}/judge/next", Authorization="Bearer no", **one)[0] for one in told]
        assert codes == [401] * 60 + [429]  # the sender's address is the one that nginx sees
    finally:
        process.terminate()
        process.communicate(timeout=30)
