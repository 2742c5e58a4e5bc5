# A large query in parts, one job each; without any, predict does it all.
scattergather:
    query=config["scatter"],


PARTS = gather.query("<run>/parts/{{model}}/{scatteritem}") if config["scatter"] > 1 else []


rule predict:
    input:
        **MODEL,
        reference=reference_to_embed,
        query="<prepared>/query.h5ad",
        parts=[f"{part}.parquet" for part in PARTS],
        embedded=[f"{part}.h5ad" for part in PARTS],
    output:
        predictions="<run>/predictions/{model}.parquet",
        embedding="<run>/embeddings/{model}.h5ad",
        cost="<run>/costs/{model}/predict.json",
    log:
        "<logs>/<run_name>/predict_{model}.log",
    benchmark:
        "<benchmarks>/<run_name>/predict_{model}.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=predict_memory_mb,
        runtime=minutes_of("reference", "query"),
        gpu=gpus_of_prediction,
    params:
        device=config["device"],
        code=code("predict.py"),
    script:
        "../scripts/predict.py"


rule adapt:
    input:
        **MODEL,
        query="<prepared>/query.h5ad",
    output:
        adaptation=temp("<run>/parts/{model}/adaptation.json"),
        cost="<run>/costs/{model}/adapt.json",
    log:
        "<logs>/<run_name>/adapt_{model}.log",
    benchmark:
        "<benchmarks>/<run_name>/adapt_{model}.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(query=NAMES.and_sample(SAMPLE_MB)),
    params:
        code=code("adapt.py"),
    script:
        "../scripts/adapt.py"


use rule predict as predict_part with:
    input:
        **MODEL,
        query="<prepared>/query.h5ad",
        adaptation="<run>/parts/{model}/adaptation.json",
    output:
        predictions=temp("<run>/parts/{model}/{scatteritem}.parquet"),
        embedding=temp("<run>/parts/{model}/{scatteritem}.h5ad"),
        cost="<run>/costs/{model}/{scatteritem}.json",
    log:
        "<logs>/<run_name>/predict_{model}_{scatteritem}.log",
    benchmark:
        "<benchmarks>/<run_name>/predict_{model}_{scatteritem}.tsv"


rule map_cells:
    input:
        embedding="<run>/embeddings/teacher.h5ad",
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
    output:
        teacher="<run>/embeddings/umap.tsv",
        pca="<run>/embeddings/umap_pca.tsv",
    log:
        "<logs>/<run_name>/map_cells.log",
    benchmark:
        "<benchmarks>/<run_name>/map_cells.tsv"
    priority: 1  # others wait for it
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(MAP_MB, **EMBEDDED_CELLS),
    params:
        code=code("map_cells.py"),
    script:
        "../scripts/map_cells.py"


rule annotate:
    input:
        **MODEL,
        query=query_file,
        prepared="<prepared>/query.h5ad",
        predictions="<run>/predictions/student.parquet",
        embedding="<run>/embeddings/student.h5ad",
        umap="<run>/embeddings/umap.tsv",
        label_tree=label_tree_of,
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
        mem_mb=annotate_memory_mb,
        runtime=minutes_of("query", "prepared"),
    params:
        source=annotated_source,
        further=further_labels,
        code=code("annotate.py"),
    script:
        "../scripts/annotate.py"
