"""Where the genes are: GTF, GFF3 and BED files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import bioframe
import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.gene_activity.genome import assembly_name
from plkd.io.formats import open_text
from plkd.io.genes import clean_gene_names
from plkd.io.stores import existing, readable
from plkd.utils.logs import logger

# Ensembl's GFF3 calls only the protein-coding ones "gene"; its GTF calls all of them so.
GENE_FEATURES = ("gene", "ncRNA_gene", "pseudogene")
_NAME_KEYS = ("gene_name", "Name", "gene", "gene_id", "ID")
_BIOTYPE_KEYS = ("gene_biotype", "gene_type", "biotype")
_NO_NAME = ("", "NA", "nan")  # what R and pandas write for a symbol that is missing
_WHOLE = re.compile(r" *-?\d+ *")
_COLUMNS = ["gene", "chrom", "start", "end", "strand", "biotype"]


def read_annotation(path: str | Path) -> pd.DataFrame:
    """Read the genes of a GTF, GFF3 or BED file, packed with gzip or not.

    The format is found by looking at the lines. Of GTF and GFF3 the lines of genes are taken, not
    those of transcripts; their positions, which begin at 1, become 0-based and half-open as those
    of BED are. BED needs a name in its fourth column; the strand in the sixth may be missing.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    DataFrame
        One row per place of a gene, sorted by chromosome, start, end and name: ``gene`` (symbol,
        or the id without its version where there is none), ``chrom`` as written, ``start`` and
        ``end`` (int64, 0-based, half-open), ``strand`` (``+``, ``-`` or ``.``), ``biotype`` (empty
        where the file tells none). Entries of one name that overlap on one chromosome and strand
        are one place; what lies elsewhere under the same name stays a place of its own.
        ``attrs`` has ``entries`` read, ``merged`` into another, ``nameless`` left out, and the
        ``genome`` that the file names.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another format, names no genes, or has positions
        that cannot be.
    """
    path = existing(path)
    comments, lines = _gene_lines(path)
    table = _parse_gff(lines, path) if lines.is_gff else _parse_bed(lines, path)
    _check_positions(table, path)
    n_entries = len(table)
    table["gene"] = clean_gene_names(table["gene"])
    table = table[~table["gene"].isin(_NO_NAME)]
    n_named = len(table)
    if n_named == 0:
        raise InputError(
            f"'{path}': none of its {n_entries:,} genes has a name. Expected one of "
            f"{', '.join(_NAME_KEYS)} in the ninth column of GTF and GFF3, or the fourth column "
            "of BED."
        )
    table = _merge_places(table)
    table.attrs = {
        "entries": n_entries,
        "merged": n_named - len(table),
        "nameless": n_entries - n_named,
        "genome": _declared_genome(comments),
    }
    logger.info(
        "'%s': %d genes at %d places (%d entries of one name merged, %d without a name left out)",
        path, table["gene"].nunique(), len(table), table.attrs["merged"], table.attrs["nameless"],
    )  # fmt: skip
    return table


class _Lines(list[list[str]]):
    """Fields of the lines that tell of genes."""

    is_gff: bool = False


def _gene_lines(path: Path) -> tuple[list[str], _Lines]:
    comments: list[str] = []
    lines = _Lines()
    features: Counter[str] = Counter()
    decided = False
    with open_text(path) as handle, readable(path, "the annotation"):
        for line in handle:
            if line.startswith(("#", "track", "browser")) or not line.strip():
                if len(comments) < 100:
                    comments.append(line)
                continue
            if not decided:
                lines.is_gff = _looks_like_gff(line.rstrip("\r\n").split("\t"), path)
                decided = True
            if not lines.is_gff:
                lines.append(line.rstrip("\r\n").split("\t"))
                continue
            if line.startswith(">"):  # GFF3 may end with the sequences
                break
            fields = line.rstrip("\r\n").split("\t", 8)
            feature = fields[2] if len(fields) > 2 else "(line cut off)"
            if feature in GENE_FEATURES:
                lines.append(fields)
            features[feature] += 1
    if not decided:
        raise InputError(f"'{path}' is empty; expected a GTF, GFF3 or BED file of genes")
    if not lines:
        found = ", ".join(f"{name} ({n:,})" for name, n in features.most_common(5))
        raise InputError(
            f"'{path}' has no line of a gene in its third column (found {found}; expected "
            f"{', '.join(GENE_FEATURES)}). Use the annotation of GENCODE or Ensembl, or a BED file."
        )
    return comments, lines


def _looks_like_gff(fields: list[str], path: Path) -> bool:
    if len(fields) >= 8 and _WHOLE.fullmatch(fields[3]) and _WHOLE.fullmatch(fields[4]):
        return True
    if len(fields) >= 3 and _WHOLE.fullmatch(fields[1]) and _WHOLE.fullmatch(fields[2]):
        if len(fields) == 3:
            raise InputError(
                f"'{path}' is a BED file without the names of the genes: expected chromosome, "
                "start, end, name, score and strand"
            )
        return False
    raise InputError(
        f"'{path}' is not an annotation: its first line is {chr(9).join(fields)[:80]!r}. Expected "
        "the tab-separated columns of GTF, GFF3 or BED."
    )


def _parse_gff(lines: _Lines, path: Path) -> pd.DataFrame:
    short = [fields for fields in lines if len(fields) < 9]
    if short:
        raise InputError(
            f"'{path}': {len(short):,} lines of genes have fewer than 9 columns, such as "
            f"{chr(9).join(short[0])[:80]!r}. The file may be cut off: get it anew."
        )
    table = pd.DataFrame(
        {name: [fields[i] for fields in lines] for name, i in
         {"chrom": 0, "start": 3, "end": 4, "strand": 6, "attributes": 8}.items()}
    )  # fmt: skip
    attributes = table.pop("attributes")
    is_gtf = bool(attributes.iloc[0:100].str.contains(r'\w+ +"').any())
    table["gene"] = _attribute(attributes, _NAME_KEYS, is_gtf)
    table["biotype"] = _attribute(attributes, _BIOTYPE_KEYS, is_gtf)
    if not is_gtf:
        table["gene"] = table["gene"].map(unquote).str.replace(r"^gene[:-]", "", regex=True)
    _numbers(table, path)
    table["start"] -= 1
    return table


def _attribute(attributes: pd.Series, keys: tuple[str, ...], is_gtf: bool) -> pd.Series:
    """The first of some attributes that a line has; empty if it has none."""
    found = pd.Series("", index=attributes.index)
    for key in keys:
        key = re.escape(key)
        pathway = rf'(?:^|[;\s]){key} +"([^"]*)"' if is_gtf else rf"(?:^|;)\s*{key}=([^;]*)"
        values = attributes.str.extract(pathway, expand=False).fillna("").str.strip()
        found = found.where(found != "", values)
    return found


def _parse_bed(lines: _Lines, path: Path) -> pd.DataFrame:
    short = [fields for fields in lines if len(fields) < 4]
    if short:
        raise InputError(
            f"'{path}': {len(short):,} lines have fewer than 4 columns, such as "
            f"{chr(9).join(short[0])[:80]!r}; expected chromosome, start, end, name, score, strand"
        )
    table = pd.DataFrame(
        {name: [fields[i] for fields in lines] for name, i in
         {"chrom": 0, "start": 1, "end": 2, "gene": 3}.items()}
    )  # fmt: skip
    table["strand"] = [fields[5] if len(fields) > 5 else "." for fields in lines]
    table["biotype"] = ""
    _numbers(table, path)
    return table


def _numbers(table: pd.DataFrame, path: Path) -> None:
    for column in ("start", "end"):
        numbers = pd.to_numeric(table[column], errors="coerce")
        wrong = table[numbers.isna() | (numbers % 1 != 0)]
        if len(wrong):
            raise InputError(
                f"'{path}': the {column} of '{wrong['gene'].iloc[0]}' is "
                f"'{wrong[column].iloc[0]}' ({len(wrong):,} such lines); expected a whole number"
            )
        table[column] = numbers.astype(np.int64)


def _check_positions(table: pd.DataFrame, path: Path) -> None:
    wrong = table[(table["start"] < 0) | (table["end"] <= table["start"])]
    if len(wrong):
        first = wrong.iloc[0]
        raise InputError(
            f"'{path}': {len(wrong):,} genes have positions that cannot be, such as "
            f"'{first['gene']}' from {first['start']:,} to {first['end']:,} (0-based, half-open) "
            f"on {first['chrom']}. Expected 0 <= start < end; the columns may be in another order."
        )
    strange = table[~table["strand"].isin(["+", "-", ".", "?", "*"])]
    if len(strange):
        raise InputError(
            f"'{path}': the strand of '{strange['gene'].iloc[0]}' is "
            f"'{strange['strand'].iloc[0]}'; expected +, - or ."
        )
    table["strand"] = table["strand"].replace({"?": ".", "*": "."})


def _merge_places(table: pd.DataFrame) -> pd.DataFrame:
    """Make overlapping entries of one name one place; sort."""
    again = table.duplicated(["gene", "chrom", "strand"], keep=False)
    merged = [table[~again]]
    if again.any():
        groups = bioframe.cluster(
            table[again].reset_index(drop=True), min_dist=None, on=["gene", "strand"]
        ).groupby("cluster", sort=False)
        merged.append(
            groups.agg(
                {
                    "gene": "first",
                    "chrom": "first",
                    "start": "min",
                    "end": "max",
                    "strand": "first",
                    "biotype": "first",
                }
            )
        )
    places = pd.concat(merged, ignore_index=True)[_COLUMNS]
    return places.sort_values(["chrom", "start", "end", "gene"], ignore_index=True)


def _declared_genome(comments: list[str]) -> str | None:
    """Assembly that the first lines name: GENCODE's, Ensembl's and NCBI's ways."""
    for line in comments:
        if line.startswith("#"):
            for word in re.findall(r"[A-Za-z][\w.]+", line):
                name = assembly_name(word)
                if name is not None:
                    return name
    return None
