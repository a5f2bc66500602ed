"""A conformance suite for storage drivers: any driver of the registry's interface can be run against it.

One line in a test module tests a driver:

>>> TestMine = StorageDriverSuite.of(MyDriver)  # doctest: +SKIP

where ``MyDriver()`` gives a driver over an empty store. Whatever needs more (fixtures, credentials, a look at
what the interface does not show) is a subclass, see :class:`StorageDriverSuite`. The same calls in random
order, against a plain dictionary, are :func:`machine`:

>>> TestMineAtRandom = machine(MyDriver)  # doctest: +SKIP

The tests are written from the interface alone and use nothing of regfs but its names, so a driver need not
be made with regfs: it needs the methods of :class:`Driver` and raises the errors of :mod:`regfs`. Both
generations of the interface are tested: v3 (``reader``, ``writer``, ``redirect_url``, ``walk``) and
v2.0.0-alpha.2 (``read_stream``, ``write_stream`` at an offset, ``url_for``).

Needs the extra ``testing``.
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis  # noqa: F401 - so that its absence is reported here
    import pytest
except ModuleNotFoundError as exc:
    text = 'regfs.testing needs the extra testing: pip install "regfs[testing]"'
    raise ModuleNotFoundError(text, name=exc.name) from exc

for _module in ("base", "content", "streams", "tree", "machine"):
    pytest.register_assert_rewrite(f"regfs.testing.{_module}")

from regfs.testing.base import Driver, Writer
from regfs.testing.content import ContentTests
from regfs.testing.machine import DriverMachine, machine
from regfs.testing.streams import StreamTests
from regfs.testing.tree import TreeTests

__all__ = ["Driver", "DriverMachine", "StorageDriverSuite", "Writer", "machine"]


class StorageDriverSuite(ContentTests, StreamTests, TreeTests):
    """Every rule of the interface as a test; pytest collects the subclasses.

    A subclass says how a driver is made, by :meth:`make_driver` or, where that takes fixtures, by a fixture
    ``driver`` of its own, and may set the attributes below.

    >>> class TestMine(StorageDriverSuite):
    ...     presigned = False
    ...
    ...     @pytest.fixture
    ...     def driver(self, tmp_path):
    ...         return MyDriver(tmp_path)

    Each test writes below a directory of its own, which is deleted by the driver when the test ends. A test
    fails if anything is left then, see :meth:`leftovers`.

    Attributes
    ----------
    presigned : bool
        Whether the driver makes URLs. Without, ``url_for`` must raise UnsupportedMethodError and
        ``redirect_url`` give "".
    large : int
        Bytes of the largest file; set it beyond what the driver sends in one request or holds in one buffer.
    many : int
        Files in the largest directory; set it beyond what the driver's service lists in one page.
    patience : float
        Seconds that the service's listings of directories may lag behind a deletion.
    """
