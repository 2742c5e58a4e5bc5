rule predict:
    input:
        model="<results>/{dataset}/{variant}/seed{seed}/{model}/model.json",
        weights="<results>/{dataset}/{variant}/seed{seed}/{model}/weights.safetensors",
        reference="<results>/{dataset}/prepared/reference.h5ad",
        query="<results>/{dataset}/prepared/query.h5ad",
    output:
        predictions="<results>/{dataset}/{variant}/seed{seed}/predictions/{model}.parquet",
        embedding="<results>/{dataset}/{variant}/seed{seed}/embeddings/{model}.h5ad",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/predict_{model}.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/predict_{model}.tsv"
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
        prepared="<results>/{dataset}/prepared/query.h5ad",
        predictions="<results>/{dataset}/{variant}/seed{seed}/predictions/student.parquet",
        embedding="<results>/{dataset}/{variant}/seed{seed}/embeddings/student.h5ad",
    output:
        annotated="<results>/{dataset}/{variant}/seed{seed}/annotated.h5ad",
        labels=report(
            "<results>/{dataset}/{variant}/seed{seed}/labels.tsv",
            category="1. Labels",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "labels of the query (table)",
            },
            caption="../report/labels.rst",
        ),
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/annotate.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/annotate.tsv"
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
