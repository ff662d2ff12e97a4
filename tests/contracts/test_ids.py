import subprocess
import sys

from contracts.work import new_id

FORKED = """
import os
from contracts.work import new_id

reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, new_id().encode())
    os._exit(0)
os.wait()
print(os.read(reader, 32).decode() != new_id())
"""


def test_ids_are_32_hexadecimal_digits_and_differ():
    ids = {new_id() for _ in range(20_000)}
    assert len(ids) == 20_000
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in ids)


def test_a_forked_process_makes_other_ids_than_its_parent():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
