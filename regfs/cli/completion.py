"""Completion: names out of the bucket, for a moment and without a word of what goes wrong; and bash's script.

bash splits words at ":" and "=", and replaces what follows the last of them alone. click's own script hands
over the pieces, in which ``team/app1:`` looks like ``team/app1 :``. So this one hands over the
line, and what it gets back is what follows the last break.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, split_arg_string

from regfs.cli.options import place_of
from regfs.cli.place import is_remote

LIMIT = 2.0
"""Seconds that a shell waits for names, at most."""
_MOST = 200
"""Names of a directory that are offered, at most."""
_LINE = "_REGFS_LINE"
"""The environment variable that has the line up to the cursor."""
_DIRECTORY = re.compile(r"regfs://[^/]*/.*|(?!regfs:).*")
"""What may come before the last component of a path that is being typed."""
_UNSAFE = re.compile(r"([^\w@%+=:,./-])")


def within_limit(question: Callable[[], Iterable[str]]) -> list[CompletionItem]:
    """Return the names that a question to a registry comes to; none if it fails or takes too long."""
    names: list[str] = []

    def ask() -> None:
        with suppress(Exception):  # a shell that completes has no place for errors
            names.extend(name for name in question() if name.isprintable())

    logging.disable()
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(LIMIT)
    return [CompletionItem(name) for name in list(names)]


class PathName(click.ParamType):  # type: ignore[type-arg]  # before click 8.2 it takes none
    """A path in a bucket, which a shell completes.

    Parameters
    ----------
    local : bool
        Whether it is a local path unless it begins with ``regfs:``.
    """

    name = "path"

    def __init__(self, *, local: bool = False) -> None:
        self._local = local

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """List the entries of the directory whose names begin so. One LIST."""
        if self._local and not is_remote(incomplete):
            return [CompletionItem(incomplete, type="file")]
        return within_limit(lambda: _entries(ctx, incomplete))


def _entries(ctx: click.Context, incomplete: str) -> list[str]:
    from regfs.filesystem.waiting import sync

    typed = incomplete or "/"
    directory = typed[: typed.rfind("/") + 1]
    if not _DIRECTORY.fullmatch(directory):
        return []
    fs, path = place_of(ctx).open(directory)
    beginning = fs.space.prefix(path)
    prefix = beginning + typed[len(directory) :]
    page = sync(fs.loop, lambda: fs.client.list_page(prefix, delimiter="/", limit=_MOST))
    keys = [*page.prefixes, *(item.key for item in page.objects)]
    return sorted(directory + key[len(beginning) :] for key in keys if len(key) > len(beginning))


class Bash(BashComplete):
    """The script for bash, and what is said to it."""

    source_template = """\
%(complete_func)s() {
    local response type value
    response=$(env _REGFS_LINE="${COMP_LINE:0:$COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS=',' read -r type value; do
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
            [[ $value == *[/=] ]] && compopt -o nospace
        fi
    done <<< "$response"
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s;
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and what has been typed of the last one."""
        line = os.environ.get(_LINE)
        if line is None:  # click's own script, of an earlier version
            return super().get_completion_args()
        # What is typed next shows whether it belongs to the last word.
        *words, last = split_arg_string(line + "x")
        return words[1:], last[:-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Return a line of the answer: what follows the last break of the word, quoted as the word is."""
        line = os.environ.get(_LINE)
        if line is None or item.type != "plain":
            return super().format_completion(item)
        value = str(item.value)
        try:
            shlex.split(line)
        except ValueError:  # within quotes nothing is a break
            return f"{item.type},{value}"
        _, typed = self.get_completion_args()
        breaks = set(os.environ.get("COMP_WORDBREAKS", ":=")) - set(" \t\n\"'")
        cut = max((typed.rfind(character) for character in breaks), default=-1) + 1
        rest = _UNSAFE.sub(r"\\\1", value.removeprefix(typed[:cut]))
        return f"{item.type},{rest}"
