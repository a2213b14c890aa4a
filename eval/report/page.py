"""Turn the views of the report's sections into one self-contained HTML page, with Jinja2.

The HTML is in ``templates/``: ``page.html`` holds the frame and the list of sections, each
``section_<name>.html`` shows the view of that name. Python computes what is said; templates say how
it is marked up. Text from data is escaped by Jinja2 itself.
"""

from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from eval.report.data.result_rows import ABSENT, format_count, format_counts, format_number

_TEMPLATES_DIR = Path(__file__).resolve().parent / "templates"

# The name of a section, its title, and its title in the list of contents.
SECTIONS = (
    ("summary", "Summary", "Summary"),
    ("results", "Results", "Results"),
    ("silence", "When nothing sounds", "Silence"),
    ("curves", "Success rate by cIoU threshold", "Curves"),
    ("breakdowns", "Breakdowns", "Breakdowns"),
    ("gallery", "Gallery", "Gallery"),
    ("training", "Training", "Training"),
    ("availability", "Data", "Data"),
    ("protocols", "Protocols", "Protocols"),
    ("run", "This run", "This run"),
)

# Those that only scores can fill.
OF_RESULTS = ("silence", "curves", "breakdowns")

# Nothing is fetched from outside, whatever text ends up on the page. Scripts may be evaluated, for
# tools that look at the page (browser tests).
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:; media-src data:; form-action 'none'; base-uri 'none'"
)


def render_page(views: dict[str, object]) -> str:
    """Return the page's HTML.

    Args:
        views: What ``page.html`` and the sections show, by the name that the templates use: a view
            for each of ``SECTIONS``, ``sections`` (those of them that are shown),
            ``dataset_names`` and ``gallery_data``.
    """
    return render_template(
        "page.html",
        policy=_CONTENT_SECURITY_POLICY,
        css=_read_asset("page.css"),
        script=_read_scripts(),
        **views,
    )


def render_gallery_page(*, title: str, gallery: object, gallery_data: object) -> str:
    """Return the HTML of a page that holds a gallery alone."""
    return render_template(
        "browse.html",
        title=title,
        gallery=gallery,
        gallery_data=gallery_data,
        policy=_CONTENT_SECURITY_POLICY,
        css=_read_asset("page.css"),
        script=_read_scripts(),
    )


def render_template(name: str, **values: object) -> str:
    """Return the HTML of one of ``templates/`` with ``values``; a missing value is an error."""
    return _make_environment().get_template(name).render(values)


@lru_cache(maxsize=1)
def _make_environment() -> Environment:
    # Text is escaped, and a name that a template misspells is an error instead of a gap.
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

    # What the templates use besides the views.
    environment.filters |= {
        "breakable": make_breakable,
        "code_marks": mark_code,
        "count": format_count,
        "counts": format_counts,
        "number": format_number,
    }
    environment.globals["absent"] = ABSENT

    # The filter `tojson` escapes what could end the script; NaN is no JSON and is refused.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def make_breakable(text: str) -> Markup:
    """Return a name as HTML that a browser may break after each underscore."""
    # By themselves, browsers break a line at spaces and hyphens only.
    return escape(text).replace("_", Markup("_<wbr>"))


def mark_code(text: str) -> Markup:
    """Return a sentence as HTML in which what stands between backticks is code."""
    parts = text.split("`")
    # What stands between backticks has an odd place.
    marked = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    ]
    return Markup("").join(marked)


def _read_scripts() -> Markup:
    """Return the scripts of the page; each keeps its names to itself."""
    names = ("charts.js", "printing.js", "gallery.js")
    return Markup("\n").join(_read_asset(name) for name in names)


def _read_asset(name: str) -> Markup:
    # The project's own files need no escaping.
    return Markup((_TEMPLATES_DIR / name).read_text(encoding="utf-8"))
