"""Requests to S3: signed, sent by the fast transport or by botocore, repeated, their failures translated.

:class:`regfs.s3.client.Client` is the top, with one method for each operation that regfs uses. All speaks of
keys here; paths are not known here.
"""
