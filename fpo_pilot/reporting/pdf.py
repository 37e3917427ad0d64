"""The report as PDF by WeasyPrint (extra ``[pdf]``), with fonts from installed packages: it looks alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from fpo_pilot.errors import ReportError
from fpo_pilot.reporting.page import Page
from fpo_pilot.reporting.render import render_html
from fpo_pilot.reporting.texts import Speaker

_FONT_FACES = """
@font-face {{ font-family: "Report"; src: url("{japanese}"); }}
@font-face {{ font-family: "Report Latin"; src: url("{latin}"); unicode-range: U+0000-2FFF; }}
@font-face {{ font-family: "Report Latin"; src: url("{bold}"); font-weight: bold; unicode-range: U+0000-2FFF; }}
"""
_FONT_USE = {
    "ja": 'html, body, table, svg, code { font-family: "Report", "Report Latin"; }\n',
    "en": 'html, body, table, svg, code { font-family: "Report Latin", "Report"; }\nhtml { font-size: 8.3pt; }\n',
}


def render_pdf(page: Page, speaker: Speaker) -> bytes:
    """Render ``page`` as a tagged PDF (PDF/UA).

    Raises:
        ReportError: the extra ``[pdf]`` is not installed.
    """
    weasyprint, japanese = _tools()
    from weasyprint.text.fonts import FontConfiguration

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    fonts = {"japanese": japanese, "latin": folder / "DejaVuSans.ttf", "bold": folder / "DejaVuSans-Bold.ttf"}
    faces = _FONT_FACES.format(**{name: path.as_uri() for name, path in fonts.items()})
    html = render_html(page, speaker, extra_css=faces + _FONT_USE[speaker.language])
    document = weasyprint.HTML(string=html, url_fetcher=_only(weasyprint, *fonts.values()))
    result = document.write_pdf(font_config=FontConfiguration(), pdf_variant="pdf/ua-1")
    return bytes(result)


def _tools() -> tuple[Any, Path]:
    try:
        import matplotlib_fontja
        import weasyprint
    except (ImportError, OSError) as problem:
        raise ReportError(
            f"PDF: found {problem}, expected the extra that makes PDFs. Install it by `pip install 'fpo-pilot[pdf]'`, "
            "or print the HTML page from a browser."
        ) from problem
    return weasyprint, Path(matplotlib_fontja.__file__).parent / "fonts" / "ipaexg.ttf"


def _only(weasyprint: Any, *allowed: Path) -> Any:
    """A fetcher that opens the given font files and nothing else: a report asks for nothing outside itself."""
    urls = {path.as_uri() for path in allowed}

    def fetch(url: str, *arguments: Any, **options: Any) -> Any:
        if url not in urls:
            raise ReportError(
                f"PDF: found a request for {url}, expected none outside the report. Report this as a bug."
            )
        return weasyprint.default_url_fetcher(url, *arguments, **options)

    return fetch
