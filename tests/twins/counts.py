"""How many cells the data sets of the paper have of each label and batch.

Where the publishers state the numbers they are given as they are; the labels of the four data sets
that are distributed with GLUE are known by name only, and get numbers from common to rare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from plkd.errors import InputError

BMMC_LABELS: dict[str, int] = {
    "CD8+ T": 11589, "CD14+ Mono": 10843, "NK": 6929, "CD4+ T activated": 5526,
    "Naive CD20+ B": 5052, "Erythroblast": 4916, "CD4+ T naive": 4398, "Transitional B": 2810,
    "Proerythroblast": 2300, "CD16+ Mono": 1894, "B1 B": 1890, "Normoblast": 1780,
    "Lymph prog": 1779, "G/M prog": 1203, "pDC": 1191, "HSC": 1072, "CD8+ T naive": 1012,
    "MK/E prog": 884, "cDC2": 859, "ILC": 835, "Plasma cell": 379, "ID2-hi myeloid prog": 108,
}  # fmt: skip
BMMC_BATCHES: dict[str, int] = {
    "s1d1": 6224, "s1d2": 6740, "s1d3": 4279, "s2d1": 4220, "s2d4": 6111, "s2d5": 4895,
    "s3d3": 4325, "s3d6": 1679, "s3d7": 1771, "s3d10": 6781, "s4d1": 8023, "s4d8": 9876,
    "s4d9": 4325,
}  # fmt: skip
PAN_CANCER_LABELS: dict[str, int] = {
    "Mono_CD14": 11520, "Mono_CD16": 11214, "cDC2_CD1C": 8042, "Macro_C1QC": 7927,
    "Macro_NLRP3": 3903, "Mast_KIT": 3868, "Macro_LYVE1": 3419, "Macro_SPP1": 3279,
    "Macro_IL1B": 2363, "Macro_GPNMB": 2264, "Macro_INHBA": 2047, "cDC2_CXCR4hi": 1851,
    "Mono_CD14CD16": 1608, "Macro_FN1": 1319, "cDC2_CD1A": 1209, "cDC2_IL1B": 1208,
    "pDC_LILRA4": 786, "cDC3_LAMP3": 740, "Macro_ISG15": 726, "cDC2_FCN1": 720,
    "cDC1_CLEC9A": 673, "cDC2_ISG15": 302, "cDC2_CXCL9": 171,
}  # fmt: skip
# The cells of colorectal cancer are in the file of the cDC2 cells alone.
PAN_CANCER_BATCHES: dict[str, int] = {
    "ESCA": 8154, "KIDNEY": 28930, "LYM": 639, "MYE": 7861, "OV-FTC": 4002, "PAAD": 3093,
    "THCA": 5939, "UCEC": 9816, "CRC": 2725,
}  # fmt: skip
# Slice -> labelled spots of L1 to L6 and WM, and spots in the tissue that have no label.
DLPFC_LAYERS = ("L1", "L2", "L3", "L4", "L5", "L6", "WM")
DLPFC_SPOTS: dict[str, tuple[int, ...]] = {
    "151507": (817, 305, 1215, 369, 675, 486, 354, 5),
    "151508": (866, 295, 1385, 373, 737, 525, 200, 3),
    "151509": (1189, 602, 1884, 369, 363, 215, 166, 1),
    "151510": (1180, 650, 1774, 318, 310, 179, 184, 39),
    "151669": (0, 0, 2141, 364, 510, 391, 230, 25),
    "151670": (0, 0, 2175, 211, 581, 308, 209, 14),
    "151671": (0, 0, 1918, 245, 721, 760, 449, 17),
    "151672": (0, 0, 1575, 304, 728, 882, 399, 127),
    "151673": (273, 253, 989, 218, 673, 692, 513, 28),
    "151674": (380, 224, 924, 247, 621, 614, 625, 38),
    "151675": (328, 275, 771, 275, 732, 533, 652, 26),
    "151676": (289, 254, 836, 254, 649, 616, 533, 29),
}
MULTIOME_LABELS = (
    "CD14 Mono", "CD4 Naive", "CD8 Naive", "CD4 TCM", "NK", "CD16 Mono", "Intermediate B",
    "CD8 TEM_1", "Memory B", "CD8 TEM_2", "Naive B", "CD4 TEM", "cDC", "Treg", "gdT", "MAIT", "pDC",
    "HSPC", "Plasma",
)  # fmt: skip
CHEN_LABELS = (
    "E3Rorb", "E2Rasgrf2", "E6Tle4", "E5Sulf1", "E4Il1rapl2", "InV", "OliM", "E5Parm1", "InP",
    "Ast", "InS", "E4Thsd7a", "E3Rmst", "E5Galnt14", "OPC", "InN", "E5Tshz2", "Clau", "OliI", "Mic",
    "Endo", "Peri",
)  # fmt: skip
MA_LABELS = (
    "TAC-1", "Basal", "Infundibulum", "ahigh CD34+ bulge", "Dermal Fibroblast", "Spinous",
    "Medulla", "alow CD34+ bulge", "TAC-2", "Hair Shaft-Cuticle/Cortex", "ORS", "IRS",
    "Endothelial", "K6+ Bulge/Companion Layer", "Isthmus", "Dermal Papilla", "Granular",
    "Macrophage DC", "Dermal Sheath", "Sebaceous Gland", "Melanocyte", "Schwann Cell",
)  # fmt: skip
MUTO_LABELS = (
    "PT", "TAL", "DCT", "CNT", "PC", "ENDO", "ICA", "PT_VCAM1", "ICB", "PEC", "PODO", "MES_FIB",
    "LEUK",
)  # fmt: skip
MUTO_BATCHES = (
    "e0def004-9e30-4a3b-9a65-007110f3a1f2",
    "f6c0f811-2fb8-4989-b796-37c14b055517",
    "5028f75a-8c09-4155-a232-ad7dbfa6042e",
    "8c570254-4bef-48d8-bd79-c812f60835a5",
    "8213a3f7-2437-4e8a-b836-caec33df901d",
)


def common_to_rare(labels: Sequence[str], ratio: float = 30.0) -> dict[str, float]:
    """Weights that fall evenly on the log scale, from 1 to 1 / `ratio`."""
    weights = np.geomspace(1, 1 / ratio, len(labels))
    return dict(zip(labels, map(float, weights), strict=True))


def scaled_down(numbers: Mapping[str, float], total: int, least: int) -> dict[str, int]:
    """Integers that sum to `total` in about the given proportions, none below `least`.

    Raises
    ------
    InputError
        If `total` does not suffice for `least` of each.
    """
    if total < least * len(numbers):
        raise InputError(
            f"{total} cells are too few for {len(numbers)} labels with at least {least} cells "
            f"each; ask for {least * len(numbers)} or more"
        )
    weights = np.array(list(numbers.values()), dtype=float)
    free = total - least * len(numbers)
    exact = free * weights / weights.sum()
    counts = least + _rounded(exact, free)
    return dict(zip(numbers, map(int, counts), strict=True))


def spread_over(
    counts: Mapping[str, int], batches: Mapping[str, float], rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Label and batch of every cell: each label over the batches by their size.

    A label with fewer cells than there are batches has them in different batches; one with more has
    a cell in each.
    """
    names = np.array(list(batches), dtype=object)
    shares = np.array(list(batches.values()), dtype=float)
    shares /= shares.sum()
    labels: list[str] = []
    chosen: list[str] = []
    for label, count in counts.items():
        if count <= len(names):
            where = rng.choice(len(names), size=count, replace=False, p=shares)
        else:
            numbers = 1 + _rounded((count - len(names)) * shares, count - len(names))
            where = np.repeat(np.arange(len(names)), numbers)
        labels += [label] * count
        chosen += list(names[where])
    return labels, chosen


def _rounded(exact: np.ndarray, total: int) -> np.ndarray:
    """Integers nearest to `exact` that sum to `total`: largest remainders first."""
    floor = np.floor(exact).astype(int)
    floor[np.argsort(floor - exact, kind="stable")[: total - floor.sum()]] += 1
    return floor
