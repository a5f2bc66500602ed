"""A page about a registry: one HTML file that needs neither network nor scripts.

:mod:`regfs.report.content` picks what is worth showing, :mod:`regfs.report.charts` draws, and the template
beside them is the page. Whatever comes out of the bucket is text in it and nothing else: jinja2 escapes it,
and the page's own policy forbids scripts, and to load anything from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import date, datetime, timezone
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from regfs._version import __version__
from regfs.catalog.fsck.findings import Ignore, parse_ignore
from regfs.report.charts import bar, growth, heat, treemap
from regfs.report.content import gather
from regfs.report.words import amount, counted, plainly, several

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regfs.catalog import Catalog

_WIDE, _NARROW = (960, 420), (340, 430)
"""Pixels of a chart, on a screen and on a phone; the page shows the one that fits."""
_MONTHS = {"wide": 36, "narrow": 12}
_SHARERS = {"wide": 12, "narrow": 6}
"""What these have room for."""


def make(catalog: Catalog, *, findings: bool = True, ignore: Iterable[str | Ignore] = ()) -> str:
    """Make the page.

    Parameters
    ----------
    catalog : Catalog
        What is in the bucket.
    findings : bool
        With what :meth:`Catalog.fsck` finds, for which every link is read.
    ignore : iterable of str or Ignore
        Which findings are known and are only counted, as :meth:`Catalog.fsck` takes them.

    Returns
    -------
    str
        The HTML document. It names the bucket, its root directory, repositories and tags; no credentials.

    Raises
    ------
    regfs.NoRegistryError, OSError
        As of :class:`~regfs.catalog.Catalog`.
    """
    content = gather(catalog, findings=findings, ignore=parse_ignore(ignore))
    package_files = resources.files(__name__)
    style = package_files.joinpath("page.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: package_files.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "amount": amount,
        "counted": counted,
        "named": _named,
        "several": several,
        "when": _when,
    }
    sized = {"wide": _WIDE, "narrow": _NARROW}
    return environment.get_template(
        "page.html.j2"
    ).render(
        content=content,
        version=__version__,
        style=Markup(style),  # noqa: S704 - our own file
        policy=_policy(style),
        bar=bar,
        wholes=[(size, kind) for _, size, kind, _ in content.kinds],
        treemaps={
            name: partial(treemap, content.tiles, width=width, height=height)
            for name, (width, height) in sized.items()
        },
        growths={
            name: partial(growth, content.growth[-months:], width=sized[name][0], height=270)
            for name, months in _MONTHS.items()
        },
        heats={
            name: partial(heat, content.sharers[:most], content.shared) for name, most in _SHARERS.items()
        },
    )


def _policy(style: str) -> str:
    """Forbid all that a page can load or run, but for this style."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rules = ["default-src 'none'", f"style-src 'sha256-{digest}'", "img-src data:", "form-action 'none'"]
    return "; ".join([*rules, "base-uri 'none'"])


def _shown(value: Any) -> Any:
    """Return what the page shows of a value; a text is nothing but text, and turns no line around."""
    return plainly(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _named(name: str) -> Markup:
    """Return a repository's name that may be broken after a slash."""
    return Markup("/<wbr>").join(plainly(part) for part in name.split("/"))


def _when(moment: datetime | date | None, form: str = "%Y-%m-%d %H:%M") -> str:
    if moment is None:
        return "–"
    if isinstance(moment, datetime):
        moment = moment.astimezone(timezone.utc)
    return f"{moment:{form}}"
