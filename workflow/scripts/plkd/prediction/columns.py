"""Columns of the tables about predictions; apart, because reports that read them need no torch."""

from plkd.utils.tables import Columns

LABEL_COLUMNS: Columns = {
    "label": str,
    "cells": int,
    "share": float,
    "median_confidence": float,
    "unknown": int,
    "expected_precision": float,
    "next_label": str,
    "next_probability": float,
}
