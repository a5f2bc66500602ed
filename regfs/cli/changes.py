"""The verbs that change what is stored: ``cp``, ``mv``, ``rm``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from regfs.cli.completion import PathName
from regfs.cli.errors import Refusal
from regfs.cli.options import SETTING, confirm, quiet_option, shared, yes_option
from regfs.cli.output import Journal, Output, Tally, counted
from regfs.cli.place import Place, is_remote, located
from regfs.cli.sides import Local, Remote, Side, Step, Tree, missing, plan, write_out
from regfs.paths import without_user
from regfs.units import format_size


def _copying(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a verb what cp and mv have in common."""
    for option in reversed(
        [
            click.argument(
                "sources", nargs=-1, required=True, metavar="SOURCE...", type=PathName(local=True)
            ),
            click.argument("target", type=PathName(local=True)),
            click.option("-r", "-R", "recursive", is_flag=True, help="Directories as well."),
            click.option("-n", "--no-clobber", is_flag=True, help="Leave files that are there as they are."),
            click.option("--dry-run", is_flag=True, help="Only print what would be done."),
            click.option("--to-config", metavar="FILE", help="The config.yml of TARGET, if it is another."),
            click.option(
                "--to-option",
                "to_given",
                multiple=True,
                type=SETTING,
                metavar="KEY=VALUE",
                help="A storage parameter of TARGET that differs.",
            ),
            quiet_option,
        ]
    ):
        function = option(function)
    return function


@click.command()
@_copying
@shared
def cp(place: Place, out: Output, **chosen: Any) -> None:
    """Copy files: up, down, or between buckets.

    Paths in a bucket begin with regfs:, as regfs://BUCKET/a or regfs:///a; all others are local, and "-" is
    stdin or stdout. A TARGET that is a directory, or ends in a slash, gets the files by their names; a
    SOURCE directory that ends in a slash is its content. Files that are there are replaced, each at once
    and whole. Directories are made as needed.

    Within a bucket the service copies; between buckets the bytes pass through this machine. TARGET has the
    parameters of SOURCE unless --to-config or --to-option give others.

    Each file is printed as "SOURCE -> TARGET" once it is copied, and the sums at the end on stderr.

    JSON: an object with entries (source, target and size of each file), files, bytes and skipped; with
    --dry-run the entries alone.
    """
    _Copy(place, out, **chosen).run(move=False)


@click.command()
@_copying
@shared
def mv(place: Place, out: Output, **chosen: Any) -> None:
    """Move files: up, down, within a bucket or between buckets.

    As cp; the sources are removed once everything has arrived. If something fails before, all of them are
    still there. With -n, what is not copied stays. Each file is printed once its source is removed.
    """
    _Copy(place, out, **chosen).run(move=True)


class _Copy:
    """A call of cp or mv."""

    def __init__(
        self,
        place: Place,
        out: Output,
        *,
        sources: tuple[str, ...],
        target: str,
        recursive: bool,
        no_clobber: bool,
        dry_run: bool,
        to_config: str | None,
        to_given: tuple[tuple[str, str], ...],
    ) -> None:
        self._place = place
        # Another file stands for itself; settings alone are a change to what the sources have.
        parameters = dict(to_given) if to_config else {**place.given, **dict(to_given)}
        self._to = place.beside(to_config or place.config, parameters)
        self._out = out
        self._sources = sources
        self._target = target
        self._recursive = recursive
        self._clobber = not no_clobber
        self._dry_run = dry_run

    def run(self, *, move: bool) -> None:
        if "-" in (*self._sources, self._target):
            self._stream(move)
            return
        target = self._side(self._target, self._to)
        sources = [(self._side(path, self._place), path.endswith("/")) for path in self._sources]
        if isinstance(target, Local) and any(isinstance(source, Local) for source, _ in sources):
            raise _local(target)
        only = sources[0][0]
        if not move and len(sources) == 1 and only.kind() == "stream" and isinstance(target, Remote):
            with open(str(only), "rb") as file:
                self._pour(file, target)
            return
        trees = plan(sources, target, self._target.endswith("/"), self._recursive)
        steps = [step for tree in trees for step in tree.steps()]
        if self._dry_run:
            self._show(steps, "would move" if move else "would copy", self._between(sources, target))
            return
        with self._journal("moved" if move else "copied", self._between(sources, target)) as journal:
            self._carry_out(trees, steps, move, journal)

    @staticmethod
    def _side(path: str, place: Place) -> Side:
        if not is_remote(path):
            if "://" in path:
                raise Refusal(f"{without_user(path)}: is neither a regfs:// URL nor a local path")
            return Local(path)
        return Remote(*place.open(path))

    @contextmanager
    def _journal(self, done: str, between: str) -> Iterator[Journal]:
        started = time.monotonic()

        def summary(journal: Journal) -> str:
            took = time.monotonic() - started
            return f"{done} {journal}{_skipped(journal.more['skipped'])}, in {took:.1f} s{between}"

        with self._out.journal(_arrow, summary) as journal:
            journal.more["skipped"] = 0
            yield journal

    def _carry_out(self, trees: list[Tree], steps: list[Step], move: bool, journal: Journal) -> None:
        from regfs.cli.transfer import transfer

        remote = any(isinstance(step.target, Remote) for step in steps)
        ending = "completing the upload" if remote else "completing the file"
        with self._out.progress(sum(step.size for step in steps), ending) as advance:
            copied = None if move else lambda step: journal.add([_entry(step)])
            result = transfer(steps, clobber=self._clobber, sizes=move, advance=advance, copied=copied)
        journal.more["skipped"] = len(result.skipped)
        if not move:
            return
        for tree in trees:
            self._remove_source(tree, result.skipped, journal)

    @staticmethod
    def _remove_source(tree: Tree, skipped: Collection[Side], journal: Journal) -> None:
        def removed(names: Sequence[str]) -> None:
            journal.add([_entry(tree.step(name)) for name in names])

        tree.source.remove([name for name in tree.sizes if tree.source.child(name) not in skipped], removed)

    def _show(self, steps: list[Step], done: str, between: str) -> None:
        from regfs.cli.transfer import lacking

        left = steps if self._clobber else lacking(steps)
        if self._out.as_json:
            self._out.table([], map(_entry, left), "entries")
            return
        self._out.lines(_arrow(_entry(step)) for step in left)
        much = f"{counted(len(left), 'file')}, {format_size(sum(step.size for step in left))}"
        self._out.summary(f"{done} {much}{_skipped(len(steps) - len(left))}{between}")

    @staticmethod
    def _between(sources: Sequence[tuple[Side, bool]], target: Side) -> str:
        """Return the buckets that files come from and go to, for the end of a line."""
        remote = [side.fs for side, _ in sources if isinstance(side, Remote)]
        start = located(*remote) if remote else ""
        end = located(target.fs) if isinstance(target, Remote) else ""
        if start == end:
            return f", within {start}"
        return (f", from {start}" if start else "") + (f", to {end}" if end else "")

    def _stream(self, move: bool) -> None:
        """Copy from stdin or to stdout."""
        if move or self._dry_run or len(self._sources) != 1 or self._sources[0] == self._target:
            raise Refusal('"-" is for cp, from or to one path')
        (source,) = self._sources
        if source != "-":
            if self._out.as_json:
                raise Refusal("--json: the content is the output")
            side = self._side(source, self._place)
            if isinstance(side, Local):
                raise _local(side)
            write_out(side)
            return
        target = self._side(self._target, self._to)
        if isinstance(target, Local):
            raise _local(target)
        self._pour(sys.stdin.buffer, target)

    def _pour(self, stream: Any, target: Remote) -> None:
        from regfs.cli.transfer import pour_in

        if self._target.endswith("/") or target.kind() == "directory":
            raise Refusal(f"{target}: is a directory; name the file that the stream becomes")
        if self._dry_run:
            raise Refusal("--dry-run: a stream cannot be looked at")
        with self._journal("copied", self._between([], target)) as journal:
            with self._out.progress(None) as advance:
                result = pour_in(stream, target, self._clobber, advance)
            journal.add([{"source": self._sources[0], "target": str(target), "size": result.bytes}])


def _entry(step: Step) -> dict[str, Any]:
    return {"source": str(step.source), "target": str(step.target), "size": step.size}


def _arrow(entry: Mapping[str, Any]) -> str:
    return f"{entry['source']} -> {entry['target']}"


def _skipped(count: int) -> str:
    return f", {count:,} skipped" if count else ""


def _local(side: Local) -> Refusal:
    return Refusal(f"{side}: is local, as the other is; a path in a bucket begins with regfs:, as regfs:///a")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=PathName())
@click.option("-r", "-R", "recursive", is_flag=True, help="Directories as well.")
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@yes_option
@quiet_option
@shared
def rm(
    place: Place, out: Output, paths: tuple[str, ...], *, recursive: bool, dry_run: bool, yes: bool
) -> None:
    """Remove files, and directories with -r.

    Asks first, and says how much it is and where. Without a terminal it needs --yes. Each file is printed
    once it is removed, and the sums at the end on stderr. Of a registry's own files both say if its metadata
    is in a database (GitLab's registry), which goes on naming what has been removed.

    JSON: an object with paths, rootdirectory, endpoint and removed, entries (path and size of each file),
    files and bytes; of a registry's files also database_in_use, null where that cannot be known.
    """
    sides = _apart([Remote(*place.open(path)) for path in paths], recursive)
    kinds = {side: side.kind() for side in sides}
    for side, kind in kinds.items():
        if side.path == "/":
            raise Refusal(f"{side}: is everything there is; name what lies in it")
        if not kind:
            raise missing(side)
        if kind == "directory" and not recursive:
            raise Refusal(f"{side}: is a directory; give -r")
    location = located(*(side.fs for side in sides))
    registry = [side for side in sides if _of_registry(side.path)]
    in_use = _database_in_use(registry)
    named = "; the registry's metadata is in a database, which still names what is removed" if in_use else ""
    if not dry_run and not yes:
        tally = Tally()
        for side in sides:
            _look(side, recursive, tally)
        name = str(sides[0]) if len(sides) == 1 else counted(len(sides), "path")
        confirm(f"Remove {name}: {tally}, in {location}{named}?", yes)
    parameters = sides[0].fs.parameters
    head = {
        "paths": [str(side) for side in sides],
        "rootdirectory": parameters.root_directory or "/",
        "endpoint": parameters.endpoint_url,
        "removed": not dry_run,
        **({"database_in_use": in_use} if registry else {}),
    }
    done = "would remove" if dry_run else "removed"
    with out.journal(
        lambda entry: str(entry["path"]), lambda journal: f"{done} {journal}, in {location}{named}", head
    ) as journal:
        for side in sides:
            (_look if dry_run else _remove)(side, recursive, journal)


def _of_registry(path: str) -> bool:
    """Return whether a path is a registry's directory, lies in it or holds it."""
    from regfs.layout import ROOT

    return f"{path}/".startswith(f"{ROOT}/") or ROOT.startswith(f"{path}/")


def _database_in_use(sides: Sequence[Remote]) -> bool | None:
    """Return whether one of the registries that files belong to has its metadata in a database.

    One HEAD for each bucket. None where the credentials do not allow to find out.
    """
    from regfs.catalog.database import database_in_use
    from regfs.catalog.source import Source

    answers = [
        database_in_use(Source(fs)) for fs in {side.fs.space.bucket: side.fs for side in sides}.values()
    ]
    return True if True in answers else None if None in answers else False


def _apart(sides: Sequence[Remote], recursive: bool) -> list[Remote]:
    """Return the sides without those that are named twice or, if that is recursive, lie in another one."""
    places = {(side.fs.space.bucket, side.path): side for side in sides}

    def inner(bucket: str, path: str) -> bool:
        parent = path.rpartition("/")[0]
        return bool(parent) and ((bucket, parent) in places or inner(bucket, parent))

    return [side for (bucket, path), side in places.items() if not (recursive and inner(bucket, path))]


def _look(side: Remote, recursive: bool, tally: Tally) -> None:
    """Add what :func:`_remove` removes to a tally."""
    if recursive:
        side.list_tree(lambda entries: tally.add(_entries(entries)))
    else:
        tally.add(_entries([(str(side), side.size())]))


def _remove(side: Remote, recursive: bool, journal: Journal) -> None:
    if recursive:
        side.remove_tree(lambda entries: journal.add(_entries(entries)))
    else:
        size = side.size()
        side.remove([""], lambda _: journal.add(_entries([(str(side), size)])))


def _entries(found: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"path": path, "size": size} for path, size in found]
