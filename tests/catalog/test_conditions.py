"""Conditions over the figures of a summary: what is parsed into what."""

from __future__ import annotations

import pytest

from regfs.catalog.conditions import Condition


@pytest.mark.parametrize(
    ("text", "figure", "sign", "value"),
    [
        ("orphaned > 10GiB", "orphaned_bytes", ">", 10 * 2**30),
        ("orphaned>10GB", "orphaned_bytes", ">", 10 * 10**9),
        ("stored_bytes <= 500mb", "stored_bytes", "<=", 500 * 10**6),
        ("pending < 1.5KiB", "pending_bytes", "<", 1536),
        ("upload >= 0", "upload_bytes", ">=", 0),
        ("uploads == 3", "uploads", "==", 3),
        ("oldest-upload != 2w", "oldest_upload", "!=", 14 * 86_400),
        ("oldest_upload > 90m", "oldest_upload", ">", 5400),
    ],
)
def test_what_a_condition_may_be(text: str, figure: str, sign: str, value: float) -> None:
    condition = Condition.parse(text)
    assert (condition.figure, condition.operator, condition.value) == (figure, sign, value)
