rule download:
    input:
        local_source,
    output:
        "<resources>/datasets/{dataset}/{file}",
    log:
        "<logs>/{dataset}/download/{file}.log",
    benchmark:
        "<benchmarks>/{dataset}/download/{file}.tsv"
    retries: 2
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        url=source_url,
        sha256=source_checksum,
        mirrors=source_mirrors,
        code=code("download.py"),
    script:
        "../scripts/download.py"
