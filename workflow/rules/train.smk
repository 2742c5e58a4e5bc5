rule teacher:
    input:
        reference="<prepared>/reference.h5ad",
        mask="<mask>/mask.npz",
        pathways="<mask>/pathways.tsv",
        genes="<mask>/genes.txt",
        gene_sets="<mask>/gene_sets.gmt",
    output:
        **TEACHER,
        card="<run>/teacher/README.md",
        cost="<run>/costs/teacher.json",
    log:
        "<logs>/<run_name>/teacher.log",
    benchmark:
        "<benchmarks>/<run_name>/teacher.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: TRAINING_PROCESSES  # one each: a step is too small for two to gain anything
    resources:
        mem_mb=training_memory_mb,
        runtime=training_minutes,
        gpu=GPUS and TRAINING_PROCESSES,
    params:
        settings=teacher_settings,
        device=config["device"],
        processes=TRAINING_PROCESSES,
        resume_folder=subpath(output.model, ancestor=2),
        code=code("train.py"),
    script:
        "../scripts/train.py"


# What held-out cells of the reference say of the models beside the Teacher that the Student learns from.
rule cross_fit:
    input:
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
    output:
        evidence="<run>/jury/cross_fit.safetensors",
        members=shown("<run>/jury/members.tsv", "who teaches (table)", "training", "members"),
        cost="<run>/costs/cross_fit.json",
    log:
        "<logs>/<run_name>/cross_fit.log",
    benchmark:
        "<benchmarks>/<run_name>/cross_fit.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=cross_fitting_memory_mb,
        runtime=cross_fitting_minutes,
        gpu=GPUS,
    params:
        settings=jury_settings,
        device=config["device"],
        code=code("cross_fit.py"),
    script:
        "../scripts/cross_fit.py"


use rule teacher as student with:
    input:
        **TEACHER,
        reference="<prepared>/reference.h5ad",
        evidence=jury_of,
    output:
        **MODEL,
        card="<run>/model/README.md",
        cost="<run>/costs/student.json",
    log:
        "<logs>/<run_name>/student.log",
    benchmark:
        "<benchmarks>/<run_name>/student.tsv"
    params:
        settings=variant_of,
        device=config["device"],
        processes=TRAINING_PROCESSES,
        resume_folder=subpath(output.model, ancestor=2),
        code=code("train.py"),
