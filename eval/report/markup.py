"""HTML as values: text is escaped unless it is ``Html``, so that nothing from a list or a table can become markup."""

import base64
import html
import json
from collections.abc import Iterable

_VOID = {"br", "img", "input", "meta", "link", "hr", "wbr"}


class Html(str):
    """A string that is markup already."""

    __slots__ = ()


def escape(value: object) -> Html:
    """``value`` as markup: text is escaped, quotes included; ``Html`` stays."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def join(children: Iterable) -> Html:
    """The markup of ``children`` one after the other; None is nothing, lists are flattened."""
    parts = []
    for child in children:
        if child is None:
            continue
        parts.append(join(child) if isinstance(child, list | tuple) else escape(child))
    return Html("".join(parts))


def element(tag: str, *children, **attributes) -> Html:
    """``<tag attributes>children</tag>``.

    ``class_`` and ``for_`` lose their underscore, other underscores become hyphens (``aria_label``; ``viewBox`` stays).
    An attribute of True is written bare; None and False leave it out.
    """
    written = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        written.append(
            f" {name}" if value is True else f' {name}="{html.escape(str(value), quote=True)}"'
        )
    opening = f"<{tag}{''.join(written)}>"
    return Html(opening) if tag in _VOID else Html(f"{opening}{join(children)}</{tag}>")


def breakable(text: str) -> Html:
    """A name that may be broken after its underscores."""
    return Html(escape(text).replace("_", "_<wbr>"))


def embed_json(value: object, *, element_id: str) -> Html:
    """``value`` in a ``<script type="application/json">`` that no content can end early."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Html(f'<script type="application/json" id="{html.escape(element_id)}">{text}</script>')


def encode_base64(data: bytes) -> str:
    """``data`` in base64 text."""
    return base64.b64encode(data).decode("ascii")


def table(
    head: Iterable,
    rows: Iterable[Iterable],
    *,
    caption: str,
    numeric_from: int = 1,
    class_: str = "",
) -> Html:
    """A captioned table in a region that scrolls by itself; the first cell of a row is its header.

    Cells from column ``numeric_from`` on are aligned as numbers.
    """
    head_cells = [
        element("th", title, scope="col", class_="number" if i >= numeric_from else None)
        for i, title in enumerate(head)
    ]
    body = []
    for row in rows:
        first, *others = row
        cells = [element("th", first, scope="row")]
        cells += [
            element("td", cell, class_="number" if i >= numeric_from else None)
            for i, cell in enumerate(others, 1)
        ]
        body.append(element("tr", cells))
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", head_cells)),
            element("tbody", body),
            class_=class_ or None,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def details(summary: object, *children, is_open: bool = False) -> Html:
    """A part that opens at a click (and is opened for printing)."""
    return element("details", element("summary", summary), *children, open=is_open)
