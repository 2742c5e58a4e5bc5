rule download:
    input:
        local_source,
    output:
        "<resources>/datasets/{dataset}/{file}",
    params:
        url=source_url,
        sha256=source_checksum,
        mirrors=source_mirrors,
        code=code("download.py"),
    log:
        "<logs>/{dataset}/download/{file}.log",
    benchmark:
        "<benchmarks>/{dataset}/download/{file}.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=1000,
    retries: 2
    script:
        "../scripts/download.py"
