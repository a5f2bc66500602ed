"""What regfs costs beside other clients of S3, measured on an S3 server of its own.

``python tests/benchmarks --help``, or ``python -m tests.benchmarks``, from the project's root; it needs the
extra ``bench``. Nothing here is collected by pytest.
"""
