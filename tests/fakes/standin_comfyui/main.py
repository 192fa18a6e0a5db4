"""Starts, answers, hangs and dies as ComfyUI does: as `behaviour.json` beside it says.

`dies`: words, at the start. `never`: starts and never answers. `hangs`: answers nothing
more. `ends`: exits at the next question. `stubborn`: does not end when it is asked to.
"""

import http.server
import json
import os
import signal
import socketserver
import sys
from pathlib import Path

BEHAVIOUR = Path(__file__).with_name("behaviour.json")


def behaviour():
    return json.loads(BEHAVIOUR.read_text()) if BEHAVIOUR.exists() else {}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        now = behaviour()
        if now.get("ends"):
            os._exit(3)
        if now.get("hangs"):
            self.close_connection = True
            return
        answers = {
            "/system_stats": {
                "system": {
                    "comfyui_version": "0.3.64",
                    "argv": sys.argv,
                    "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
                    "path": os.environ.get("PYTHONPATH"),
                },
                "devices": [{"name": "cpu", "vram_total": 2, "vram_free": 1}],
            },
            "/queue": {"queue_running": [], "queue_pending": []},
            "/models/checkpoints": ["kizy-starter.safetensors"],
            "/object_info": {
                "CheckpointLoaderSimple": {
                    "input": {"required": {"ckpt_name": [["kizy-starter.safetensors"]]}}
                }
            },
        }
        body = json.dumps(answers.get(self.path)).encode()
        self.send_response(200 if self.path in answers else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *args):
        print(form % args, flush=True)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True


def main():
    print("Starting server", flush=True)
    now = behaviour()
    if now.get("dies"):
        sys.exit(now["dies"])
    if now.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    if now.get("never"):
        signal.pause()
    with Server(("127.0.0.1", port), Handler) as server:
        server.serve_forever(poll_interval=0.01)


if __name__ == "__main__":
    main()
