# Finished models, each of which labels all of many files: nothing is prepared or trained.


wildcard_constraints:
    finished="|".join(map(re.escape, FINISHED)) or "none",
    query="|".join(map(re.escape, QUERIES)) or "none",


# Every file labelled by every model.
rule annotate_only:
    input:
        expand("<results>/annotated/{finished}/{query}.tsv", finished=FINISHED, query=QUERIES),


rule label_query:
    input:
        unpack(finished_model),
        query=lambda wildcards: beside(QUERIES[wildcards.query]),
    output:
        annotated="<results>/annotated/{finished}/{query}.h5ad",
        table="<results>/annotated/{finished}/{query}.tsv",
    log:
        "<logs>/annotated/{finished}/{query}.log",
    benchmark:
        "<benchmarks>/annotated/{finished}/{query}.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=label_query_memory_mb,
        runtime=minutes_of("query"),
        gpu=GPUS,
    params:
        labels_only=config["annotate_only"]["labels_only"],
        device=config["device"],
        code=code("label_query.py"),
    script:
        "../scripts/label_query.py"
