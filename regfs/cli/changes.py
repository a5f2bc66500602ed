"""The verbs that change what is stored: ``cp``, ``mv``, ``rm``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from regfs.cli.errors import Refusal
from regfs.cli.options import SETTING, confirm, shared, yes_option
from regfs.cli.output import Output, counted, size
from regfs.cli.place import Place, is_remote
from regfs.cli.sides import Local, Remote, Side, Step, Tree, missing, plan, write_out


def _copying(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb what cp and mv have in common."""
    for option in reversed(
        [
            click.argument("sources", nargs=-1, required=True, metavar="SOURCE..."),
            click.argument("target"),
            click.option("-r", "-R", "recursive", is_flag=True, help="Directories as well."),
            click.option("-n", "--no-clobber", is_flag=True, help="Leave files that are there as they are."),
            click.option("--dry-run", is_flag=True, help="Only tell what would be done."),
            click.option("--to-config", metavar="FILE", help="The config.yml of TARGET, if it is another."),
            click.option(
                "--to-option",
                "to_given",
                multiple=True,
                type=SETTING,
                metavar="KEY=VALUE",
                help="A storage parameter of TARGET that differs.",
            ),
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
    parameters of SOURCE unless --to-config or --to-option tell others.

    JSON: an object with files, bytes and skipped; with --dry-run an array of source, target and size.
    """
    _Copy(place, out, **chosen).run(move=False)


@click.command()
@_copying
@shared
def mv(place: Place, out: Output, **chosen: Any) -> None:
    """Move files: up, down, within a bucket or between buckets.

    As cp; the sources are removed once everything has arrived. If something fails before, all of them are
    still there. With -n, what is not copied stays.
    """
    _Copy(place, out, **chosen).run(move=True)


class _Copy:
    """One call of cp or mv."""

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
        given = dict(to_given) if to_config else {**place.given, **dict(to_given)}
        self._to = Place(to_config or place.config, given)
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
            self._tell(steps)
            return
        self._carry_out(trees, steps, move)

    @staticmethod
    def _side(path: str, place: Place) -> Side:
        if not is_remote(path):
            if "://" in path:
                raise Refusal(f"{path}: is neither a regfs:// URL nor a local path")
            return Local(path)
        return Remote(*place.open(path))

    def _carry_out(self, trees: list[Tree], steps: list[Step], move: bool) -> None:
        from regfs.cli.transfer import transfer

        started = time.monotonic()
        with self._out.progress(sum(step.size for step in steps)) as advance:
            result = transfer(steps, clobber=self._clobber, sizes=move, advance=advance)
        if move:
            for tree in trees:
                tree.source.remove(
                    [name for name in tree.sizes if tree.source.child(name) not in result.skipped]
                )
        self._told(result, "moved" if move else "copied", started)

    def _tell(self, steps: list[Step]) -> None:
        if self._out.as_json:
            self._out.table(
                [], ({"source": str(s.source), "target": str(s.target), "size": s.size} for s in steps)
            )
        else:
            self._out.lines(f"{step.source} -> {step.target}" for step in steps)

    def _told(self, result: Any, done: str, started: float) -> None:
        if self._out.as_json:
            self._out.record({"files": result.files, "bytes": result.bytes, "skipped": len(result.skipped)})
            return
        skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
        took = time.monotonic() - started
        text = f"{done} {counted(result.files, 'file')}, {size(result.bytes)}{skipped}, in {took:.1f} s"
        self._out.note(text)

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
        started = time.monotonic()
        with self._out.progress(None) as advance:
            result = pour_in(stream, target, self._clobber, advance)
        self._told(result, "copied", started)


def _local(side: Local) -> Refusal:
    return Refusal(f"{side}: is local, as the other is; a path in a bucket begins with regfs:, as regfs:///a")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-r", "-R", "recursive", is_flag=True, help="Directories as well.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@yes_option
@shared
def rm(
    place: Place, out: Output, paths: tuple[str, ...], *, recursive: bool, dry_run: bool, yes: bool
) -> None:
    """Remove files, and directories with -r.

    Asks first, and tells how much it is. Without a terminal it needs --yes.

    JSON: an object with paths, files, bytes and removed.
    """
    sides = [Remote(*place.open(path)) for path in paths]
    files = total = 0
    for side in sides:
        if side.path == "/":
            raise Refusal(f"{side}: is everything there is; name what lies in it")
        kind = side.kind()
        if not kind:
            raise missing(side)
        if kind == "directory" and not recursive:
            raise Refusal(f"{side}: is a directory; give -r")
        sizes = [size for _, size in side.tree()] if recursive else []
        sizes += [side.size()] if kind == "file" else []
        files, total = files + len(sizes), total + sum(sizes)
    where = str(sides[0]) if len(sides) == 1 else counted(len(sides), "path")
    much = f"{counted(files, 'file')}, {size(total)}"
    if not dry_run:
        confirm(f"Remove {where}: {much}?", yes)
        for side in sides:
            if recursive:
                _remove_tree(side)
            else:
                side.remove([""])
    if out.as_json:
        record = {"paths": [str(side) for side in sides], "files": files, "bytes": total}
        out.record({**record, "removed": not dry_run})
    else:
        out.note(f"{'would remove' if dry_run else 'removed'} {much}")


def _remove_tree(side: Remote) -> None:
    from regfs.waiting import sync

    sync(side.fs.loop, side.fs.delete_tree, side.path)
