# Seurat's label transfer: anchors by canonical correlations, or by projection onto the reference's principal
# components. Genes: those that were selected in the reference.

suppressPackageStartupMessages(library(Seurat))
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1]))
source(file.path(here, "exchange.R"))

annotate <- function(job) {
  # Seurat alters names with an underscore, and refuses cells that are called alike
  genes <- paste0("g", seq_along(job$reference$genes))
  object <- function(cells, prefix) {
    values <- cells$matrix("X") # normalised over all genes, as NormalizeData would
    dimnames(values) <- list(genes, paste0(prefix, seq_len(ncol(values))))
    found <- SetAssayData(CreateSeuratObject(values), "data", values)
    VariableFeatures(found) <- genes
    found
  }
  reference <- object(job$reference, "r")
  query <- object(job$query, "q")
  labels <- factor(job$reference$labels)
  reference$label <- paste0("l", as.integer(labels))
  dims <- seq_len(min(30, ncol(reference) - 1, ncol(query) - 1, length(genes) - 1))
  cca <- job$method == "seurat_cca"
  start <- now()
  reference <- ScaleData(reference, verbose = FALSE)
  reference <- RunPCA(reference, npcs = max(dims), verbose = FALSE)
  anchors <- FindTransferAnchors(
    reference, query, dims = dims, features = genes, reduction = if (cca) "cca" else "pcaproject",
    reference.reduction = if (cca) NULL else "pca", verbose = FALSE
  )
  training <- seconds_since(start)
  start <- now()
  found <- TransferData(
    anchors, reference$label, weight.reduction = if (cca) "cca" else "pcaproject", dims = dims,
    verbose = FALSE
  )
  # one column per label, of which some may have no anchor
  columns <- paste0("prediction.score.l", seq_along(levels(labels)))
  scores <- sapply(columns, function(name) if (name %in% names(found)) found[[name]] else 0)
  scores <- matrix(unlist(scores), nrow = nrow(found))
  colnames(scores) <- levels(labels)
  attr(scores, "told") <- list(training_seconds = training, prediction_seconds = seconds_since(start))
  scores
}

run(annotate, "Seurat")
