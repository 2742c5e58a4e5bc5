rule predict:
    input:
        model="<run>/{model}/model.json",
        weights="<run>/{model}/weights.safetensors",
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
    output:
        predictions="<run>/predictions/{model}.parquet",
        embedding="<run>/embeddings/{model}.h5ad",
    log:
        "<logs>/<run_name>/predict_{model}.log",
    benchmark:
        "<benchmarks>/<run_name>/predict_{model}.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=3000,
    params:
        device=config["device"],
        code=code("predict.py"),
    script:
        "../scripts/predict.py"


rule annotate:
    input:
        query=query_file,
        prepared="<prepared>/query.h5ad",
        predictions="<run>/predictions/student.parquet",
        embedding="<run>/embeddings/student.h5ad",
    output:
        annotated="<run>/annotated.h5ad",
        labels=shown("<run>/labels.tsv", "labels of the query (table)", "labels", "labels"),
    log:
        "<logs>/<run_name>/annotate.log",
    benchmark:
        "<benchmarks>/<run_name>/annotate.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        source=annotated_source,
        code=code("annotate.py"),
    script:
        "../scripts/annotate.py"
