"""The verbs that look at files: ``ls``, ``stat``, ``cat``, ``du``, ``url``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.completion import PathName
from regfs.cli.content import is_image, platform_option, write_contents
from regfs.cli.errors import Refusal
from regfs.cli.options import Duration, shared, sizes_option
from regfs.cli.output import Column, Output
from regfs.cli.place import Place
from regfs.cli.sides import Remote, write_out

if TYPE_CHECKING:
    from regfs.filesystem.spec import RegistryFileSystem


def _entry(info: Mapping[str, Any], bucket: str) -> dict[str, Any]:
    """Return a file or directory as a record."""
    if info["type"] == "directory":
        return {"path": info["name"], "bucket": bucket, "type": "directory"}
    return {
        "path": info["name"],
        "bucket": bucket,
        "type": "file",
        "size": info["size"],
        "modified": info["LastModified"],
        "etag": info["ETag"].strip('"'),
        "class": info["StorageClass"],
    }


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=PathName())
@click.option("-l", "long", is_flag=True, help="With size, time (UTC) and storage class.")
@click.option("-R", "recursive", is_flag=True, help="All files under it, with their whole paths.")
@sizes_option
@shared
def ls(
    place: Place, out: Output, paths: tuple[str, ...], *, long: bool, recursive: bool, human: bool
) -> None:
    """List directories and files.

    Names end in a slash where they are directories. With -R, and with several paths, whole paths are
    printed. JSON: an object with entries, an array of objects with path, bucket, type and, of files, size,
    modified, etag and class.
    """
    whole = recursive or len(paths) > 1
    columns = [
        Column("size", "size" if human else "bytes"),
        Column("modified", "time", drop=1),
        Column("class", drop=2),
    ]

    def entries() -> Iterator[dict[str, Any]]:
        for path in paths or ("/",):
            fs, within = place.open(path)
            for info in _listed(fs, within, recursive):
                record = _entry(info, fs.space.bucket)
                name = record["path"] if whole else record["path"].rpartition("/")[2]
                yield {**record, "name": name + "/" * (record["type"] == "directory")}

    if long or out.as_json:
        out.table([*columns, Column("name")], entries(), "entries")
    else:
        out.lines(entry["name"] for entry in entries())


def _listed(fs: RegistryFileSystem, path: str, recursive: bool) -> Sequence[Mapping[str, Any]]:
    if not recursive:
        return fs.ls(path, detail=True)
    infos = fs.find(path, detail=True)
    if not infos and path != "/":
        fs.info(path)  # raises what is wrong
    return list(infos.values())


@click.command()
@click.argument("path", type=PathName())
@shared
def stat(place: Place, out: Output, path: str) -> None:
    """Show a file's or directory's properties.

    "key" is where the bucket has it; "driver" is whether the registry's driver accepts the path, whose
    rule is stricter than S3's. JSON: an object.
    """
    from regfs.errors import InvalidPathError
    from regfs.paths import check_driver_path

    fs, within = place.open(path)
    record = _entry(fs.info(within), fs.space.bucket)
    record["url"] = fs.unstrip_protocol(within)
    record["driver"] = True
    try:
        check_driver_path(within, "s3aws", root=True)
    except InvalidPathError:
        record["driver"] = False
    if record["type"] == "file":
        record |= _properties(fs, within)
    else:
        record["key"] = fs.space.prefix(within)
    out.record(record, [Column("modified", "time")])


def _properties(fs: RegistryFileSystem, path: str) -> dict[str, Any]:
    """Return what listings do not show of a file. One HEAD."""
    from regfs.filesystem.waiting import sync

    key = fs.space.key(path)
    answer = sync(fs.loop, fs.client.transport.call, "head_object", key, Key=key)
    return {
        "key": key,
        "content_type": answer.get("ContentType"),
        "encryption": answer.get("ServerSideEncryption"),
        "kms_key": answer.get("SSEKMSKeyId"),
        "version": answer.get("VersionId"),
        "metadata": answer.get("Metadata") or None,
    }


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="[REPO[:TAG|@DIGEST]] PATH...", type=PathName())
@click.option(
    "--verify", is_flag=True, help="Compare a registry's blob with the digest that its path promises."
)
@platform_option
@shared
def cat(place: Place, out: Output, paths: tuple[str, ...], *, verify: bool, platform: str | None) -> None:
    """Write files to stdout, one after the other; "-" is stdin.

    Behind the name of an image, PATHs are files in that image, as a container sees them; links are followed
    inside it. Its layers are read from the uppermost down, as far as needed, and each that is read is
    compared with its digest before the first byte is written. All other PATHs begin with a slash or regfs:,
    and are files in the bucket.

    There is no JSON.
    """
    if out.as_json:
        raise Refusal("--json: the content is the output")
    if is_image(paths[0]):
        write_contents(place, out, paths[0], paths[1:], platform)
        return
    if platform:
        raise Refusal("--platform: is for the files of an image; give its name before the paths")
    for path in paths:
        if path == "-":
            shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)
            continue
        write_out(Remote(*place.open(path)), verify)


@click.command()
@click.argument("path", default="/", type=PathName())
@click.option("-s", "summary", is_flag=True, help="The total alone.")
@sizes_option
@shared
def du(place: Place, out: Output, path: str, *, summary: bool, human: bool) -> None:
    """Show disk usage per child, the largest last, and the total.

    JSON: an object with the total, and its children as an array.
    """
    fs, within = place.open(path)
    base = within.rstrip("/") + "/"
    children: dict[str, dict[str, Any]] = {}
    for info in _listed(fs, within, recursive=True):
        name, slash, _ = info["name"].removeprefix(base).partition("/")
        child = children.setdefault(name + slash, {"path": name + slash, "bytes": 0, "files": 0})
        child["bytes"] += info["size"]
        child["files"] += 1
    ordered = sorted(children.values(), key=lambda child: (child["bytes"], child["path"]))
    total = {"path": within, **{key: sum(child[key] for child in ordered) for key in ("bytes", "files")}}
    if out.as_json:
        out.record(total if summary else {**total, "children": ordered})
        return
    columns = [Column("bytes", "size" if human else "bytes"), Column("files", "number"), Column("path")]
    out.table(columns, [total] if summary else [*ordered, total])


@click.command()
@click.argument("path", type=PathName())
@click.option("--expires", type=Duration(), default="20m", show_default=True, help="At most 7d.")
@click.option("--method", type=click.Choice(["GET", "HEAD"], case_sensitive=False), default="GET")
@shared
def url(place: Place, out: Output, path: str, *, expires: timedelta, method: str) -> None:
    """Print a presigned URL. Sends no request, so the file need not exist.

    JSON: an object with url, method and expires, the time in UTC.
    """
    fs, within = place.open(path)
    until = datetime.now(timezone.utc) + expires
    made = fs.sign(within, expires.total_seconds(), method.upper())
    if out.as_json:
        out.record({"url": made, "method": method.upper(), "expires": until})
    else:
        click.echo(made)
