"""Whether all is well between a configuration and its bucket: :func:`regfs.doctor.examination.examine`."""
