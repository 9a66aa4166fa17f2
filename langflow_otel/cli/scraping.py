"""The command's own scrape: what Prometheus would read from this process, read the same way."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from langflow_otel._metrics.endpoint import listening_address
from langflow_otel._settings.secret_files import read_secret
from langflow_otel._settings.settings import ScrapeSettings

_PATIENCE_S = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - what is listened on, and where it is found


class ScrapedPage:
    """What one scrape found.

    Raises:
        ValueError: The text is not Prometheus's.
    """

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(sample)

    def series(self, name: str, **labels: str) -> list[Sample]:
        """All series of this name that have these labels."""
        found = self._samples.get(name, [])
        return [each for each in found if labels.items() <= each.labels.items()]

    def total(self, name: str, **labels: str) -> float | None:
        """What they add up to; None if there are none."""
        found = self.series(name, **labels)
        return sum(each.value for each in found) if found else None


class Scraper:
    """Reads one endpoint.

    Args:
        url: As the endpoint tells it.
        settings: Of the endpoint: its token and its certificate are used.
    """

    def __init__(self, url: str, settings: ScrapeSettings) -> None:
        parts = urlsplit(url)
        host = _EVERYWHERE.get(parts.hostname or "", parts.netloc.rpartition(":")[0])
        self._settings = settings
        self.is_everywhere = parts.hostname in _EVERYWHERE
        self.netloc = f"{host}:{parts.port}"
        self.url = parts._replace(netloc=self.netloc).geturl()

    def read(self) -> ScrapedPage:
        """One scrape.

        Raises:
            OSError: There is no answer, or it is not the page.
        """
        connection = self._connection()
        try:
            connection.request("GET", urlsplit(self.url).path, headers=self._headers())
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as exc:
            raise OSError(f"no HTTP: {exc!r}") from exc
        finally:
            connection.close()
        if answer.status != HTTPStatus.OK:
            raise OSError(f"{answer.status} {answer.reason}")
        try:
            return ScrapedPage(body.decode())
        except ValueError as exc:
            raise OSError("what it says are no metrics") from exc

    def _connection(self) -> http.client.HTTPConnection:
        # Not urllib: a proxy from the environment has no business between a process and itself.
        certificate = self._settings.cert_file
        if certificate is None and self.url.startswith("https:"):
            return http.client.HTTPSConnection(self.netloc, timeout=_PATIENCE_S)
        if certificate is None:
            return http.client.HTTPConnection(self.netloc, timeout=_PATIENCE_S)
        # This very certificate is trusted, whoever signed it and whatever name it is for.
        context = ssl.create_default_context(cafile=str(certificate))
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return http.client.HTTPSConnection(self.netloc, timeout=_PATIENCE_S, context=context)

    def _headers(self) -> dict[str, str]:
        token = self._settings.token_file
        return {} if token is None else {"Authorization": f"Bearer {read_secret(token).decode('latin-1').strip()}"}


def with_free_port(settings: ScrapeSettings) -> ScrapeSettings:
    """The same, with any free port if the wanted one is taken.

    Raises:
        OSError: The address cannot be listened on, whatever the port.
        UnicodeError: The host cannot be a name.
    """
    family, address = listening_address(settings)
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        if os.name == "posix":
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            return replace(settings, port=0)
    return settings


def scrape_config(scraper: Scraper, settings: ScrapeSettings) -> str:
    """What to write into ``prometheus.yml`` so that a Prometheus reads this endpoint."""
    # Who listens on all interfaces has a Prometheus on another machine.
    target = f"{socket.gethostname()}:{scraper.netloc.rpartition(':')[2]}" if scraper.is_everywhere else scraper.netloc
    lines = ["scrape_configs:", "  - job_name: langflow", "    scrape_interval: 5s"]
    if settings.cert_file is not None:
        lines += ["    scheme: https", f"    tls_config: {{ca_file: {settings.cert_file.absolute()}}}"]
    if settings.token_file is not None:
        lines.append(f"    authorization: {{credentials_file: {settings.token_file.absolute()}}}")
    return "\n".join([*lines, "    static_configs:", f'      - targets: ["{target}"]'])
