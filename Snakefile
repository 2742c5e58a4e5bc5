# The entry point of a clone. The workflow itself is workflow/Snakefile; a default target that stands in
# an included file is ignored by Snakemake, so it is named here once more.
include: "workflow/Snakefile"


rule default:
    default_target: True
    input:
        rules.all.input,
    localrule: True
