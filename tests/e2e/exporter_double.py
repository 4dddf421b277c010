"""A double of an exporter: HTTP/1.1 with keep-alive, a thread per connection, and what it shows is
what a function of its own says."""
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def dcgm(value, metric="DCGM_FI_DEV_GPU_UTIL", gpu="0", host="node-1", stamp="", **labels):
    """A line as dcgm-exporter has it."""
    known = {"gpu": gpu, "UUID": f"GPU-{host}-{gpu}", "pci_bus_id": "00000000:07:00.0", "device": f"nvidia{gpu}",
             "modelName": "NVIDIA H100 80GB HBM3", "Hostname": host, "DCGM_FI_DRIVER_VERSION": "535.129.03", **labels}
    text = ",".join(f'{k}="{v}"' for k, v in known.items() if v is not None)
    return f"{metric}{{{text}}} {value}{stamp and ' '}{stamp}\n"


# Values that change with every scrape: of the n-th, for GPU g.
COUNTING = {"DCGM_FI_DEV_GPU_UTIL": lambda n, g: f"{(n * 7 + g) % 101}",
            "DCGM_FI_DEV_POWER_USAGE": lambda n, g: f"{100 + (n * 37 + g * 11) % 60000 / 100:.6f}",
            "DCGM_FI_PROF_PCIE_TX_BYTES": lambda n, g: f"{(n * 123456789 + g) * 1000003}",
            "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": lambda n, g: f"{n * 1e-7 + g / 3}"}


def counting(gpus, host):
    """What an Exporter of that many GPUs shows, with what is of none."""
    def shows(n):
        text = f'process_cpu_seconds_total 1.5\ngo_info{{version="go1.20 \\"gpu\\""}} {n}\n'
        for metric, value in COUNTING.items():
            text += f"# HELP {metric} x\n# TYPE {metric} gauge\n"
            text += "".join(dcgm(value(n, g), metric, g, host, pod=f"job-{g}", namespace="ml", container="main")
                            for g in range(gpus))
        return text
    return shows


class Exporter:
    """shows(n) is what the n-th request (from 1) gets: text, or bytes, or (status, text); content_type
    goes with it. While hang is set requests wait for it to be cleared."""

    def __init__(self, shows, content_type=TEXT, port=0):
        self.shows, self.content_type = shows, content_type
        self.requests, self.connections, self.headers = 0, 0, None
        self.lock, self.hang, self.ended = threading.Lock(), threading.Event(), threading.Event()
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                with exporter.lock:
                    exporter.connections += 1

            def do_GET(self):
                exporter.answer(self)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client_address):
                pass  # a streamer that has gone away

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/metrics"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def answer(self, handler):
        with self.lock:
            self.requests += 1
            n = self.requests
            self.headers = handler.headers
        if self.hang.is_set():
            self.ended.wait(60)
            return
        said = self.shows(n)
        status, body = said if isinstance(said, tuple) else (200, said)
        body = body.encode() if isinstance(body, str) else body
        zipped = "gzip" in (handler.headers.get("Accept-Encoding") or "")
        body = gzip.compress(body, 1) if zipped else body
        handler.send_response(status)
        handler.send_header("Content-Type", self.content_type)
        handler.send_header("Content-Length", str(len(body)))
        if zipped:
            handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(body)

    def close(self):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
