rule teacher:
    input:
        reference="<prepared>/reference.h5ad",
        mask="<mask>/mask.npz",
        pathways="<mask>/pathways.tsv",
        genes="<mask>/genes.txt",
        gene_sets="<mask>/gene_sets.gmt",
    output:
        model="<run>/teacher/model.json",
        weights="<run>/teacher/weights.safetensors",
        history="<run>/teacher/history.tsv",
        background="<run>/teacher/background.safetensors",
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
        settings=variant_of,
        device=config["device"],
        resume_file=subpath(output.model, ancestor=2),
        code=code("train.py"),
    script:
        "../scripts/train.py"


use rule teacher as student with:
    input:
        reference="<prepared>/reference.h5ad",
        teacher="<run>/teacher/model.json",
        weights="<run>/teacher/weights.safetensors",
    output:
        model="<run>/student/model.json",
        weights="<run>/student/weights.safetensors",
        history="<run>/student/history.tsv",
        background="<run>/student/background.safetensors",
    log:
        "<logs>/<run_name>/student.log",
    benchmark:
        "<benchmarks>/<run_name>/student.tsv"
