"""A PostgreSQL server of its own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from free_ports import reserve_port


@contextmanager
def run_postgres() -> Iterator[str]:
    """Yield the address of an empty database of a server; skip the test if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("needs PostgreSQL (on Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg2", reason="needs psycopg2-binary")
    as_user = []
    folder = Path(tempfile.mkdtemp(prefix="newsimg-postgres-"))
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    port = reserve_port()

    def run(program, *arguments):
        command = [*as_user, str(found[-1].parent / program), "-D", str(folder / "data")]
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            subprocess.run([*command, *arguments], cwd="/", stdout=log, stderr=log, check=True)

    run("initdb", "-U", "newsimg", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
    rules = folder / "data" / "pg_hba.conf"
    rules.write_text(f"host all locked 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -F"
    run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg2://newsimg@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder)
        (folder.parent / f"{folder.name}.log").unlink()
