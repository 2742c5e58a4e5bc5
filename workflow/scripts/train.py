"""Train the Teacher, or, where a Teacher is among the inputs, the Student that learns from it."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.model.folder import load_model, save_model
from plkd.model.reference import Reference
from plkd.model.training import train_student, train_teacher
from plkd.pathways.mask import Mask
from plkd.preparation.prepared import PreparedCells
from plkd.settings.models import from_dict
from plkd.utils.devices import choose_device
from plkd.utils.files import sha256_of
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    cells = PreparedCells.read(snakemake.input.reference)
    folder = Path(snakemake.output.model).parent
    settings = from_dict(snakemake.params.settings)
    seed = int(snakemake.wildcards.seed)
    reference = Reference.from_names(cells.X, cells.labels, cells.genes)
    reference = reference.with_label_noise(settings.label_noise, seed)
    options = {
        "seed": seed,
        "device": choose_device(snakemake.params.device, threads=snakemake.threads),
        "resume_file": Path(snakemake.params.resume_file) / f"{folder.name}.resume.pt",
        "provenance": {
            "dataset": snakemake.wildcards.dataset,
            "variant": snakemake.wildcards.variant,
            "reference_sha256": sha256_of(snakemake.input.reference),
        },
    }
    if snakemake.input.get("teacher"):
        teacher = load_model(Path(snakemake.input.teacher).parent)
        model, history = train_student(reference, teacher, settings, **options)
    else:
        mask = Mask.load(Path(snakemake.input.mask).parent)
        model, history = train_teacher(reference, mask.matrix, mask.tokens, settings, **options)
    save_model(model, history, folder)


if __name__ == "__main__":
    run_script(main, snakemake)
