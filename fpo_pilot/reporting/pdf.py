"""The report as PDF by WeasyPrint (extra ``[pdf]``), with fonts from installed packages: it looks alike everywhere."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import matplotlib as mpl

from fpo_pilot.errors import ReportError
from fpo_pilot.reporting.page import Page
from fpo_pilot.reporting.render import render_html
from fpo_pilot.reporting.texts import Speaker

INSTALL = "Install it by `pip install 'fpo-pilot[pdf]'`, or print the HTML page from a browser."
_FONT_FACES = """
@font-face {{ font-family: "Report Japanese"; src: url("{japanese}"); }}
@font-face {{ font-family: "Report Latin"; src: url("{latin}"); }}
@font-face {{ font-family: "Report Latin"; src: url("{bold}"); font-weight: bold; }}
@page {{ @bottom-right {{ font-family: "Report Latin"; }} }}
"""
_ORDER = {"ja": "'Report Japanese', 'Report Latin'", "en": "'Report Latin', 'Report Japanese'"}
_SIZE = {"ja": "", "en": "html { font-size: 8.3pt; }\n"}
"""The Latin font is wide: smaller, page one stays one page."""


def render_pdf(page: Page, speaker: Speaker) -> bytes:
    """Render ``page`` as a tagged PDF (PDF/UA).

    Raises:
        ReportError: the extra ``[pdf]`` is not installed, or too old, or its fonts are missing.
    """
    weasyprint, japanese = _tools()
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    fonts = {"japanese": japanese, "latin": folder / "DejaVuSans.ttf", "bold": folder / "DejaVuSans-Bold.ttf"}
    for path in fonts.values():
        if not path.is_file():
            raise ReportError(f"PDF: found no font at {path}, expected it in the extra. {INSTALL}")
    faces = _FONT_FACES.format(**{name: path.as_uri() for name, path in fonts.items()})
    order = _ORDER[speaker.language]
    use = f"*, ::marker {{ font-family: {order} !important; }}\n{_SIZE[speaker.language]}"
    html = render_html(page, speaker, extra_css=faces + use)
    html = html.replace("<svg ", f'<svg font-family="{order}" ')  # style sheets do not reach into drawings here
    document = weasyprint.HTML(string=html, url_fetcher=_only(weasyprint.urls, *fonts.values()))
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it warns of every rule that is for screens only
    try:
        result = document.write_pdf(pdf_variant="pdf/ua-1")
    except weasyprint.urls.FatalURLFetchingError as problem:
        raise ReportError(f"PDF: found {problem}, expected none. Take the address out of the template.") from problem
    return bytes(result)


def _tools() -> tuple[Any, Path]:
    try:
        import matplotlib_fontja
        import weasyprint
    except (ImportError, OSError) as problem:
        raise ReportError(f"PDF: found {problem}, expected the extra that makes PDFs. {INSTALL}") from problem
    if not hasattr(weasyprint.urls, "URLFetcher"):
        raise ReportError(f"PDF: found WeasyPrint {weasyprint.__version__}, expected 68 or later. {INSTALL}")
    return weasyprint, Path(matplotlib_fontja.__file__).parent / "fonts" / "ipaexg.ttf"


def _only(urls: Any, *allowed: Path) -> Any:
    """A fetcher that opens the given font files and nothing else: a report asks for nothing outside itself."""
    known = {path.as_uri() for path in allowed}

    class FontFetcher(urls.URLFetcher):  # type: ignore[misc]
        """WeasyPrint passes over ordinary errors of a fetcher in silence; this one must stop it."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            if url not in known:
                raise urls.FatalURLFetchingError(f"a request for {url}")
            return super().fetch(url, headers)

    return FontFetcher()
