rule teacher:
    input:
        reference="<prepared>/reference.h5ad",
        mask="<mask>/mask.npz",
        pathways="<mask>/pathways.tsv",
        genes="<mask>/genes.txt",
        gene_sets="<mask>/gene_sets.gmt",
    output:
        **TEACHER,
        history="<run>/teacher/history.tsv",
    log:
        "<logs>/<run_name>/teacher.log",
    benchmark:
        "<benchmarks>/<run_name>/teacher.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 2
    resources:
        mem_mb=memory_mb,
    params:
        settings=teacher_settings,
        device=config["device"],
        resume_folder=subpath(output.model, ancestor=2),
        code=code("train.py"),
    script:
        "../scripts/train.py"


use rule teacher as student with:
    input:
        **TEACHER,
        reference="<prepared>/reference.h5ad",
        history="<run>/teacher/history.tsv",
    output:
        **MODEL,
        history="<run>/model/history.tsv",
    log:
        "<logs>/<run_name>/student.log",
    benchmark:
        "<benchmarks>/<run_name>/student.tsv"
    params:
        settings=variant_of,
        device=config["device"],
        resume_folder=subpath(output.model, ancestor=2),
        code=code("train.py"),
