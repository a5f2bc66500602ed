"""Date and time in the names of files that a verb writes, for a cron job: ``exports/{date}``.

Not strftime's fields: a crontab takes "%" for the end of its line.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

from regfs.cli.errors import Refusal

_FIELDS = {"date": "%Y-%m-%d", "time": "%H%M%SZ"}
_FIELD = re.compile(r"\{(\w+)\}")


def dated(name: str, moment: datetime | None = None) -> str:
    """Return a file's name with its date fields filled in.

    Parameters
    ----------
    name : str
        A path or URL, perhaps with ``{date}`` and ``{time}``.
    moment : datetime, optional
        The time, aware; now by default.

    Raises
    ------
    Refusal
        There is no such field.
    """
    moment = (moment or datetime.now(timezone.utc)).astimezone(timezone.utc)

    def value(match: re.Match[str]) -> str:
        if match[1] not in _FIELDS:
            raise Refusal(f"{name}: there is no field {match[0]}; there are {{date}} and {{time}}")
        return f"{moment:{_FIELDS[match[1]]}}"

    return _FIELD.sub(value, name)
