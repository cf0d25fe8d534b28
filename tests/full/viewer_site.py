"""A small web server for the OHIF viewer: its static files, its configuration, and DICOMweb passed on to another port."""

import functools
import http.client
import http.server
import json
import pathlib
import threading

CONFIGURATION = {
    "routerBasename": "/", "extensions": [], "modes": [], "showStudyList": True, "maxNumberOfWebWorkers": 2,
    "showWarningMessageForCrossOrigin": False, "showCPUFallbackMessage": False, "defaultDataSourceName": "archive",
    "investigationalUseDialog": {"option": "never"},
    "dataSources": [{"namespace": "@ohif/extension-default.dataSourcesModule.dicomweb", "sourceName": "archive", "configuration": {
        "friendlyName": "archive", "name": "archive", "qidoSupportsIncludeField": False, "imageRendering": "wadors",
        "thumbnailRendering": "wadors", "enableStudyLazyLoad": True, "supportsFuzzyMatching": False, "supportsWildcard": True,
        "supportsReject": False, "omitQuotationForMultipartRequest": False, "bulkDataURI": {"enabled": True}}}],
}
PASSED_HEADERS = ("Accept",)
PIECE_BYTES = 1 << 16


class Handler(http.server.SimpleHTTPRequestHandler):
    """One request; paths that name no file are the viewer's own pages."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # pylint: disable=invalid-name
        """A file, or what the archive says."""
        if self.path.startswith("/dicomweb/"):
            self.pass_on()
        elif self.path.startswith("/app-config.js"):
            self.reply(f"window.config = {json.dumps(self.server.configuration)};".encode(), "text/javascript")
        else:
            name = self.path.partition("?")[0]
            if not (pathlib.Path(self.directory) / name.lstrip("/")).is_file():
                self.path = "/index.html"
            super().do_GET()

    def pass_on(self):
        """The archive's answer to the same request."""
        archive = http.client.HTTPConnection("127.0.0.1", self.server.archive_port, timeout=60)
        path = self.server.archive_root + self.path[len("/dicomweb"):]
        try:
            archive.request("GET", path, headers={name: self.headers[name] for name in PASSED_HEADERS if self.headers[name]})
            response = archive.getresponse()
            content = response.read()
            self.server.requests.append((response.status, path))
            self.reply(content, response.headers.get("Content-Type", "application/octet-stream"), response.status)
        finally:
            archive.close()

    def reply(self, content, content_type, status=200):
        """An answer in one piece."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self):
        # a viewer that is isolated may share memory among its workers
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Says nothing."""


class Site(http.server.ThreadingHTTPServer):
    """The viewer in front of an archive's DICOMweb. Use as a context manager."""

    daemon_threads = True

    def __init__(self, folder, archive_port, archive_root="/dicomweb"):
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.archive_port, self.archive_root = archive_port, archive_root
        self.requests = []  # (status, path) that went to the archive
        self.configuration = json.loads(json.dumps(CONFIGURATION))
        root = f"{self.url}/dicomweb"
        self.configuration["dataSources"][0]["configuration"].update({"wadoUriRoot": root, "qidoRoot": root, "wadoRoot": root})

    @property
    def url(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()
