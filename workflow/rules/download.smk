rule download:
    input:
        local_source,
    output:
        "<resources>/datasets/{collection}/{file}",
    log:
        "<logs>/{collection}/download/{file}.log",
    benchmark:
        "<benchmarks>/{collection}/download/{file}.tsv"
    localrule: True  # the nodes of a cluster often have no network
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(350),
    params:
        source=source_of_download,
        offline_folder=offline_folder,
        code=code("download.py"),
    script:
        "../scripts/download.py"


# Several published files of cells as one.
rule assemble:
    input:
        assembled_files,
    output:
        cells="<results>/{dataset}/assembled.h5ad",
        report="<results>/{dataset}/assembled.json",
    log:
        "<logs>/{dataset}/assemble.log",
    benchmark:
        "<benchmarks>/{dataset}/assemble.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=minutes_of(),
    params:
        cells=cells_of,
        code=code("assemble.py"),
    script:
        "../scripts/assemble.py"
