"""Train the Teacher, or, where a Teacher is among the inputs, the Student that learns from it."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.model.cross_fitting import load_cross_fit
from plkd.model.reference import Reference
from plkd.model.trained_model import Model, load_model
from plkd.model.training import resume_file_in, train_student, train_teacher
from plkd.pathways.mask import Mask
from plkd.pipeline.measured import measured
from plkd.preparation.prepared import PreparedCells
from plkd.settings.models import Settings, from_dict, override
from plkd.utils.devices import choose_device
from plkd.utils.files import sha256_of
from plkd.utils.logs import run_script
from plkd.utils.processes import Team, joined, run_again_in, started_by_torchrun

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> dict[str, int]:
    processes = int(snakemake.params.processes)
    if processes > 1 and not started_by_torchrun():
        run_again_in(processes)
    wish = choose_device(snakemake.params.device, threads=max(snakemake.threads // processes, 1))
    with joined(wish) as device:
        model = train(snakemake, device)
        if Team.here().is_first:
            model.save(Path(snakemake.output.model).parent)
    return {"n_reference": sum(model.provenance["cells_per_label"].values())}


def train(snakemake, device: str) -> Model:
    cells = PreparedCells.read(snakemake.input.reference)
    reference = Reference.from_names(
        cells.to_learn_from(snakemake.resources.mem_mb / Team.here().size),
        cells.label_column,
        cells.genes,
        cells.obs["batch"],
        cells.spatial,
    )
    kind = "teacher" if snakemake.input.get("mask") else "student"
    resume_file = resume_file_in(Path(snakemake.params.resume_folder), kind)
    if kind == "student":
        model = load_model(Path(snakemake.input.model).parent)
        settings = from_dict(snakemake.params.settings)
        evidence = snakemake.input.get("evidence")
        return train_student(
            reference,
            model,
            load_cross_fit(evidence, reference, settings) if evidence else None,
            settings=settings,
            device=device,
            resume_file=resume_file,
        )
    return train_teacher(
        reference,
        Mask.load(Path(snakemake.input.mask).parent),
        override(Settings(), snakemake.params.settings, where="settings"),
        seed=int(snakemake.wildcards.seed),
        device=device,
        resume_file=resume_file,
        provenance={
            "dataset": snakemake.wildcards.dataset,
            "variant": snakemake.wildcards.variant,
            "reference_sha256": sha256_of(snakemake.input.reference),
        },
    )


if __name__ == "__main__":
    run_script(measured(main), snakemake)
