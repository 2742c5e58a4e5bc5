"""Small genomes for tests: tables of genes and peaks, annotation files, bgzip."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import pandas as pd

BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def gene_table(*rows: tuple[str, str, int, int, str]) -> pd.DataFrame:
    """Genes from (gene, chrom, start, end, strand)."""
    return pd.DataFrame(rows, columns=["gene", "chrom", "start", "end", "strand"])


def peak_table(*rows: tuple[str, int, int]) -> pd.DataFrame:
    """Peaks from (chrom, start, end)."""
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def gtf_line(
    gene: str,
    chrom: str,
    start: int,
    end: int,
    strand: str,
    *,
    feature: str = "gene",
    extra: str = "",
) -> str:
    """One line of GTF for a 0-based, half-open interval."""
    attributes = f'gene_id "ID_{gene}"; gene_name "{gene}"; gene_type "protein_coding";{extra}'
    return f"{chrom}\ttest\t{feature}\t{start + 1}\t{end}\t.\t{strand}\t.\t{attributes}\n"


def write_bgzf(path: Path, text: str, *, block: int = 500, end: bool = True) -> None:
    """Pack a text as bgzip does: gzip members with their size in a field BC, an empty one last."""
    data = text.encode()
    with path.open("wb") as handle:
        for start in range(0, len(data), block):
            piece = data[start : start + block]
            packer = zlib.compressobj(6, zlib.DEFLATED, -15)
            packed = packer.compress(piece) + packer.flush()
            head = b"\x1f\x8b\x08\x04" + b"\0" * 5 + b"\xff" + struct.pack("<H", 6) + b"BC\x02\x00"
            handle.write(head + struct.pack("<H", len(packed) + 25) + packed)
            handle.write(struct.pack("<II", zlib.crc32(piece), len(piece)))
        handle.write(BGZF_END if end else b"")


def write_gz(path: Path, text: str) -> Path:
    """Pack a text with gzip."""
    with gzip.open(path, "wt") as handle:
        handle.write(text)
    return path
