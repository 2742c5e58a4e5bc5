"""Fail if the example transfers score below what this version promises (README.md)."""

import sys

import pandas as pd

# data set -> least accuracy and macro F1 of the Student, query cells of types the reference has
PROMISED = {"pbmc_two_studies": (0.87, 0.87), "pbmc_kang": (0.95, 0.81)}


def main(path: str) -> int:
    table = pd.read_csv(path, sep="\t")
    students = table[(table["method"] == "student") & (table["variant"] == "default")]
    students = students.set_index("dataset")
    missed = 0
    for dataset, (accuracy, macro_f1) in PROMISED.items():
        row = students.loc[dataset]
        good = row["accuracy"] >= accuracy and row["macro_f1"] >= macro_f1
        missed += not good
        print(
            f"{dataset}: accuracy {row['accuracy']:.3f} (>= {accuracy}), "
            f"macro F1 {row['macro_f1']:.3f} (>= {macro_f1}): {'met' if good else 'MISSED'}"
        )
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
