"""A dcgm-exporter that is none: GPUs whose values change with every scrape."""
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

METRICS = {"DCGM_FI_DEV_GPU_UTIL": lambda n, g: f"{(n * 7 + g) % 101}",
           "DCGM_FI_DEV_POWER_USAGE": lambda n, g: f"{100 + (n * 37 + g * 11) % 60000 / 100:.6f}",
           "DCGM_FI_PROF_PCIE_TX_BYTES": lambda n, g: f"{(n * 123456789 + g) * 1000003}",
           "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": lambda n, g: f"{n * 1e-7 + g / 3}"}


class Exporter:
    def __init__(self, gpus=4, host="node-7"):
        self.gpus, self.host, self.scrapes = gpus, host, 0
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = exporter.page().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self):
        self.scrapes += 1
        lines = ["process_cpu_seconds_total 1.5", f'go_info{{version="go1.20 \\"gpu\\""}} {self.scrapes}']
        for metric, value in METRICS.items():
            lines += [f"# HELP {metric} x", f"# TYPE {metric} gauge"]
            lines += [f'{metric}{{gpu="{g}",UUID="GPU-{self.host}-{g}",device="nvidia{g}",modelName="NVIDIA H100 80GB HBM3",'
                      f'Hostname="{self.host}",pod="job-{g}",namespace="ml",container="main"}} {value(self.scrapes, g)}'
                      for g in range(self.gpus)]
        return "\n".join(lines) + "\n"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
