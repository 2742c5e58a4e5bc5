rule teacher:
    input:
        reference="<results>/{dataset}/prepared/reference.h5ad",
        mask="<results>/{dataset}/{variant}/mask/mask.npz",
        pathways="<results>/{dataset}/{variant}/mask/pathways.tsv",
        genes="<results>/{dataset}/{variant}/mask/genes.txt",
        gene_sets="<results>/{dataset}/{variant}/mask/gene_sets.gmt",
    output:
        model="<results>/{dataset}/{variant}/seed{seed}/teacher/model.json",
        weights="<results>/{dataset}/{variant}/seed{seed}/teacher/weights.safetensors",
        history="<results>/{dataset}/{variant}/seed{seed}/teacher/history.tsv",
        background="<results>/{dataset}/{variant}/seed{seed}/teacher/background.safetensors",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/teacher.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/teacher.tsv"
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
        reference="<results>/{dataset}/prepared/reference.h5ad",
        teacher="<results>/{dataset}/{variant}/seed{seed}/teacher/model.json",
        weights="<results>/{dataset}/{variant}/seed{seed}/teacher/weights.safetensors",
    output:
        model="<results>/{dataset}/{variant}/seed{seed}/student/model.json",
        weights="<results>/{dataset}/{variant}/seed{seed}/student/weights.safetensors",
        history="<results>/{dataset}/{variant}/seed{seed}/student/history.tsv",
        background="<results>/{dataset}/{variant}/seed{seed}/student/background.safetensors",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/student.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/student.tsv"
