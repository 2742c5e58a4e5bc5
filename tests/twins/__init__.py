"""Miniature twins: files laid out as the published data sets of the paper, with planted truth.

A twin is written as ``<root>/<host>/<path>``, so that a static web server of the root stands for
the hosts of the real files.
"""
