"""Genes planted on a genome, and the files that describe them."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.simulation.design import stream
from plkd.utils.files import whole_file

# Lengths of the assembled chromosomes in base pairs: GRCh38 and GRCm38.
CHROMOSOMES: dict[str, dict[str, int]] = {
    "hg38": dict(
        zip(
            [*(f"chr{i}" for i in range(1, 23)), "chrX"],
            [
                248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973,
                145138636, 138394717, 133797422, 135086622, 133275309, 114364328, 107043718,
                101991189, 90338345, 83257441, 80373285, 58617616, 64444167, 46709983, 50818468,
                156040895,
            ],
            strict=True,
        )
    ),
    "mm10": dict(
        zip(
            [*(f"chr{i}" for i in range(1, 20)), "chrX"],
            [
                195471971, 182113224, 160039680, 156508116, 151834684, 149736546, 145441459,
                129401213, 124595110, 130694993, 122082543, 120129022, 120421639, 124902244,
                104043685, 98207768, 94987271, 90702639, 61431566, 171031299,
            ],
            strict=True,
        )
    ),
}  # fmt: skip
GENE_ID_PREFIX = {"hg38": "ENSG", "mm10": "ENSMUSG"}
FIRST_GENE = 1_000_000
MEDIAN_LENGTH = 20_000
LENGTH_LIMITS = (1_000, 400_000)
MEAN_GAP = 40_000
NONCODING_SHARE = 0.05
BGZF_BLOCK = 65_280
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def plant_annotation(genes: Sequence[str], *, genome: str = "hg38", seed: int = 0) -> pd.DataFrame:
    """Give every gene a place of its own on a genome.

    Parameters
    ----------
    genes
        Names of the genes.
    genome
        ``hg38`` or ``mm10``.
    seed
        Seed of the places; the same genes and seed give the same annotation.

    Returns
    -------
    DataFrame
        One row per gene, sorted by place: `gene`, `gene_id` (Ensembl-like, with version),
        `gene_type`, `chrom`, `start`, `end` (0-based, half-open), `strand`. Genes do not overlap;
        some promoters reach into a neighbour.

    Raises
    ------
    InputError
        If the genome is not known or has no room for so many genes.
    """
    if genome not in CHROMOSOMES:
        raise InputError(
            f"the genome '{genome}' is not known; expected one of {', '.join(CHROMOSOMES)}"
        )
    rng = stream("annotation", genome, seed)
    n_genes = len(genes)
    lengths = np.array(list(CHROMOSOMES[genome].values()))
    shares = n_genes * lengths / lengths.sum()
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares)[: n_genes - counts.sum()]] += 1
    chromosome = np.repeat(np.arange(len(lengths)), counts)
    sizes = np.clip(rng.lognormal(np.log(MEDIAN_LENGTH), 1.0, n_genes), *LENGTH_LIMITS).astype(int)
    gaps = rng.exponential(MEAN_GAP, n_genes).astype(int) + 200
    ends = np.empty(n_genes, dtype=np.int64)
    for code, length in enumerate(lengths):
        here = chromosome == code
        ends[here] = FIRST_GENE + np.cumsum(sizes[here] + gaps[here])
        if here.any() and ends[here].max() > length:
            raise InputError(
                f"{n_genes} genes have no room on {genome}: chromosome "
                f"{list(CHROMOSOMES[genome])[code]} is full; use fewer genes"
            )
    order = rng.permutation(n_genes)
    numbers = order + 1
    is_noncoding = rng.random(n_genes) < NONCODING_SHARE
    versions = rng.integers(1, 20, n_genes)
    return pd.DataFrame(
        {
            "gene": np.asarray(genes, dtype=object)[order],
            "gene_id": [
                f"{GENE_ID_PREFIX[genome]}{number:011d}.{version}"
                for number, version in zip(numbers, versions, strict=True)
            ],
            "gene_type": np.where(is_noncoding, "lncRNA", "protein_coding").astype(object),
            "chrom": np.array(list(CHROMOSOMES[genome]), dtype=object)[chromosome],
            "start": ends - sizes,
            "end": ends,
            "strand": np.where(rng.random(n_genes) < 0.5, "+", "-").astype(object),
        }
    )


def write_gtf(
    annotation: pd.DataFrame, path: str | Path, *, description: str = "simulated genes"
) -> None:
    """Write an annotation as GTF in the style of GENCODE; packed if the name ends with ``.gz``.

    Every gene has one transcript of one or two exons.
    """
    header = f"##description: {description}\n##provider: GENCODE\n##format: gtf\n"
    text = header + "".join(_gtf_lines(annotation))
    content = text.encode()
    path = Path(path)
    with whole_file(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _gtf_lines(annotation: pd.DataFrame) -> Iterator[str]:
    columns = ("gene", "gene_id", "gene_type", "chrom", "start", "end", "strand")
    for name, gene_id, kind, chrom, start, end, strand in zip(
        *(annotation[column].to_list() for column in columns), strict=True
    ):
        stem, _, version = gene_id.partition(".")
        transcript = stem.replace("G0", "T0", 1) + (f".{version}" if version else "")
        about_gene = f'gene_id "{gene_id}"; gene_type "{kind}"; gene_name "{name}"; level 2;'
        about = (
            f'gene_id "{gene_id}"; transcript_id "{transcript}"; gene_type "{kind}"; '
            f'gene_name "{name}"; transcript_type "{kind}"; transcript_name "{name}-201"; level 2;'
        )
        first, last = start + 1, end
        part = (end - start) // 5
        exons = [(first, first + part), (last - part, last)]
        rows = [("gene", first, last, about_gene), ("transcript", first, last, about)]
        rows += [
            ("exon", *exon, f"{about} exon_number {number};")
            for number, exon in enumerate(exons if strand == "+" else exons[::-1], start=1)
        ]
        for feature, a, b, attributes in rows:
            yield f"{chrom}\tHAVANA\t{feature}\t{a}\t{b}\t.\t{strand}\t.\t{attributes}\n"


def write_bgzf(lines: Iterable[str], path: str | Path) -> None:
    """Write text in the blocked gzip format that tabix indexes; any gzip reader reads it too."""
    with whole_file(path) as temporary, temporary.open("wb") as handle:
        buffer = bytearray()
        for line in lines:
            buffer += line.encode()
            while len(buffer) >= BGZF_BLOCK:
                handle.write(_bgzf_block(bytes(buffer[:BGZF_BLOCK])))
                del buffer[:BGZF_BLOCK]
        if buffer:
            handle.write(_bgzf_block(bytes(buffer)))
        handle.write(BGZF_END)


def _bgzf_block(content: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    size = len(packed) + 26  # header of 18 bytes before, checksum and length of 8 behind
    header = struct.pack(
        "<4BI2BH2BHH", 31, 139, 8, 4, 0, 0, 255, 6, ord("B"), ord("C"), 2, size - 1
    )
    return header + packed + struct.pack("<II", zlib.crc32(content), len(content))
