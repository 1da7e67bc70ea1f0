"""What a run needs before it begins: a clean folder, the two C programs, replicas, tokens and a large body."""
import json
import os
import shutil
import subprocess
import time

from harness import gateways

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.abspath(os.path.join(HERE, "../../.build-bench"))


class Bench:
    """What all scenarios share: the replicas, the tokens, the large body."""

    def __init__(self, seconds):
        self.folder, self.seconds = FOLDER, seconds
        self.tokens = os.path.join(FOLDER, "tokens.txt")
        expires = int(time.time()) + 86_400
        values = [f"Bearer {gateways.token('key-%03d' % index, expires)}" for index in range(100)]
        with open(self.tokens, "w") as file:
            file.write("\n".join(values))
        self.authorization = values[0]
        self.large_body = os.path.join(FOLDER, "body-512k.json")
        text = ("the quick brown fox jumps over the lazy dog " * 12_000)[:512 * 1024 - 120]
        with open(self.large_body, "w") as file:
            json.dump({"model": "bench-model", "messages": [{"role": "user", "content": text}], "max_tokens": 64}, file)
        self.replicas = gateways.Replicas(FOLDER)


def clear():
    """What the last run left; the build of the micro-benchmarks stays."""
    os.makedirs(FOLDER, exist_ok=True)
    for entry in os.scandir(FOLDER):
        if entry.is_file():
            os.remove(entry)
        elif entry.name != "build":
            shutil.rmtree(entry)


def build():
    for name in ("load", "replica"):
        source, result = os.path.join(HERE, "src", f"{name}.c"), os.path.join(FOLDER, name)
        subprocess.run([os.environ.get("CC", "gcc"), "-O2", "-Wall", "-Wextra", "-o", result, source], check=True)
