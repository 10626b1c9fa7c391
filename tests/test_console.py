import subprocess
import sys

SCRIPT = """
import logging
from absl import logging as absl_logging
from vigor_jax import console
console.set_up()
absl_logging.info("a line")
absl_logging.warning("a %s", "danger")
logging.getLogger("another.library").info("chatter")
logging.getLogger("another.library").warning("worth knowing")
for level in ("info", "warning", "error"):
    code = compile(f"from absl import logging; logging.{level}('orbax {level}')", "/lib/orbax/checkpoint.py", "exec")
    exec(code)
"""


def test_sentences_for_people_and_no_chatter():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "a line",
        "warning: a danger",
        "warning: worth knowing",
    ]
