"""A filesystem that is used before a fork works after it, in the child and in the parent."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import gc, json, os, sys
from regfs import RegistryFileSystem

def child(how, fs, file):
    assert fs.cat("/d", recursive=True) == {f"/d/{i}": b"%d" % i for i in range(20)}
    if how == "collect":
        RegistryFileSystem.clear_instance_cache()
        del fs, file, globals()["fs"], globals()["file"]
        gc.collect()
        RegistryFileSystem(**json.loads(sys.argv[1])).cat_file("/d/0")  # whatever was spawned is under way
    elif how == "exit":
        sys.exit(0)
    elif how == "write":
        fs.pipe_file("/child", b"here")
    os._exit(0)

fs = RegistryFileSystem(**json.loads(sys.argv[1]))
fs.pipe({f"/d/{i}": b"%d" % i for i in range(20)})
file = fs.open("/large", "wb")
file.write(bytes(11 * 2**20))
for how in ("use", "collect", "write", "exit", "use"):
    pid = os.fork()
    if pid == 0:
        child(how, fs, file)
    assert os.waitpid(pid, 0)[1] == 0, how
    assert fs.cat("/d", recursive=True) == {f"/d/{i}": b"%d" % i for i in range(20)}, how
file.close()
assert fs.size("/large") == 11 * 2**20
assert fs.cat_file("/child") == b"here"
print("done")
"""


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_both_go_on(options: dict[str, Any]) -> None:
    # Less time than a lost answer takes to be missed.
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", SCRIPT]
    run = subprocess.run([*command, json.dumps(options)], capture_output=True, text=True, timeout=45)
    assert (run.stdout, run.stderr, run.returncode) == ("done\n", "", 0)
