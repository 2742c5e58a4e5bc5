# Where the files of a data set come from, and where they lie.


def address_of(url, folder=None):
    """URL or path of a source, its variables filled in, its beginning exchanged where asked; a path that
    exists, here or beside the file that names it (in `folder`)."""
    url = url.replace("{data_folder}", str(config["data_folder"] or "data_folder-is-not-set"))
    for beginning, other in config["url_rewrites"].items():
        if url.startswith(beginning):
            url = other + url.removeprefix(beginning)
            break
    return url if urlparse(url).scheme else beside(url, folder)


def addresses_of(source):
    """Addresses of a source, its mirrors behind its own."""
    return [address_of(url, source.get("beside")) for url in (source["url"], *source["mirrors"])]


def local_path(source):
    """Path of a source that lies on this machine, or None."""
    address = addresses_of(source)[0]
    parts = urlparse(address)
    if parts.scheme == "repository":
        return source_file(parts.path)
    if parts.scheme == "file":
        return unquote(parts.path)
    return address if not parts.scheme else None


def file_name(source):
    """Name that a source is saved under."""
    if source.get("filename"):
        return source["filename"]
    name = PurePosixPath(source.get("member") or unquote(urlparse(source["url"]).path)).name
    if name in ("", ".."):
        stop(f"'{source['url']}' does not end with the name of a file: give one as 'filename'.")
    return name


def read_sources():
    """All sources by collection and the name of the file they become."""
    sources = {}
    for dataset, content in DATASETS.items():
        collection = sources.setdefault(collection_of(dataset), {})
        for source in sources_in(content):
            other = collection.setdefault(file_name(source), source)
            if (addresses_of(other)[0], other.get("member")) != (
                addresses_of(source)[0],
                source.get("member"),
            ):
                stop(
                    f"data set '{dataset}': two sources would both be saved as '{file_name(source)}'; "
                    "give one of them another 'filename'."
                )
    return sources


SOURCES = read_sources()


def fetched(dataset, source):
    """The file that rule download makes of a source; a local folder (10x mtx, zarr) is used in place."""
    path = local_path(source)
    if path is not None and os.path.isdir(path) and "member" not in source:
        return path
    return f"<resources>/datasets/{collection_of(dataset)}/{file_name(source)}"


def source_of(wildcards):
    return SOURCES[wildcards.collection][wildcards.file]


def source_of_download(wildcards):
    """A source with addresses to try, for the script; the URL itself is its name in the lock file."""
    source = source_of(wildcards)
    return {
        **{
            key: source.get(key) for key in ("url", "sha256", "size", "member", "max_unpacked_size")
        },
        "addresses": addresses_of(source),
    }


def offline_folder(wildcards):
    return beside(config["offline_folder"]) if config["offline"] else None


def local_source(wildcards):
    path = local_path(source_of(wildcards))
    return local(path) if path else []


def source_of_side(dataset, side):
    """The configuration of one side; without a query of its own, that of the reference."""
    return DATASETS[dataset].get(side, DATASETS[dataset]["reference"])


def drawn_from(dataset):
    """The data set whose files serve: its own, or those of the one that it was drawn from."""
    return DATASETS[dataset].get("drawn_from", dataset)


def original_file(dataset, side):
    """The file that holds the cells of one side as they were published (several are assembled)."""
    source = source_of_side(dataset, side)
    dataset = drawn_from(dataset)
    return fetched(dataset, source) if "url" in source else f"<results>/{dataset}/assembled.h5ad"


def cells_file(dataset, side):
    """The file with the genes of one side: its own, or the gene activity made of it (once, if both
    sides come from the same file)."""
    source = source_of_side(dataset, side)
    if "gene_activity" in source:
        keys = ("url", "gene_activity", *READING)
        reference = DATASETS[dataset]["reference"]
        shared = all(reference.get(key) == source.get(key) for key in keys)
        dataset = drawn_from(dataset)
        return f"<results>/{dataset}/gene_activity/{'reference' if shared else side}.h5ad"
    return original_file(dataset, side)


def reference_file(wildcards):
    return cells_file(wildcards.dataset, "reference")


def prepared_query_file(wildcards):
    """The query's own file; none where it is split off the reference."""
    return cells_file(wildcards.dataset, "query") if "query" in DATASETS[wildcards.dataset] else []


def has_rows(source):
    """Whether the published file has a row per cell that can be labelled; fragments have not."""
    return "url" in source and source.get("gene_activity", {}).get("rule") != "signac"


def query_file(wildcards):
    """The file that is copied with labels: the query as it came, or cells made of fragments."""
    dataset = wildcards.dataset
    side = "query" if "query" in DATASETS[dataset] else "reference"
    published = has_rows(source_of_side(dataset, side))
    return original_file(dataset, side) if published else cells_file(dataset, side)


def gene_activity_cells(wildcards):
    return original_file(wildcards.dataset, wildcards.side)


def gene_activity_source(wildcards):
    """How to read peaks or fragments and make genes of them."""
    source = source_of_side(wildcards.dataset, wildcards.side)
    made = part_of(
        source["gene_activity"], ("rule", "upstream", "chromosomes", "biotypes", "min_fragments")
    )
    return {**part_of(source, READING), "gene_activity": made}


def gene_activity_annotation(wildcards):
    source = source_of_side(wildcards.dataset, wildcards.side)
    return fetched(wildcards.dataset, source["gene_activity"]["annotation"])


def gene_activity_barcodes(wildcards):
    source = source_of_side(wildcards.dataset, wildcards.side)
    barcodes = source["gene_activity"].get("barcodes")
    return fetched(wildcards.dataset, barcodes) if barcodes else []


def gene_table_of(side):
    """Input function of the table of gene names of one side."""

    def table(wildcards):
        table = DATASETS[wildcards.dataset].get(side, {}).get("gene_table")
        return fetched(wildcards.dataset, table) if isinstance(table, dict) else []

    return table


def assembled_files(wildcards):
    """Every source of `cells`, in the order of the configuration."""
    return [
        fetched(wildcards.dataset, source)
        for source in sources_in(DATASETS[wildcards.dataset]["cells"])
    ]


def cells_of(wildcards, input):
    """The key `cells` with the path of every source beside its `url`."""
    cells = with_paths(DATASETS[wildcards.dataset]["cells"], input)
    for source in sources_in(cells):
        source.pop("beside", None)
    return cells


def gene_set_files(wildcards):
    return [
        fetched(wildcards.dataset, source) for source in DATASETS[wildcards.dataset]["gene_sets"]
    ]
