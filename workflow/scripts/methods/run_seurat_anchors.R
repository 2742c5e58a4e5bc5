# Seurat: anchors between batches by canonical correlations (FindIntegrationAnchors), the values that IntegrateData
# makes of them, and their principal components. Genes: those that were selected in the reference. 30 dimensions and the
# package's defaults, but for numbers of neighbours and of anchors that a small batch does not have.

suppressPackageStartupMessages(library(Seurat))
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1]))
source(file.path(here, "exchange.R"))

embed <- function(job) {
  # Seurat alters names with an underscore, and refuses cells that are called alike
  values <- job$expression
  dimnames(values) <- list(paste0("g", seq_len(nrow(values))), paste0("c", seq_len(ncol(values))))
  members <- split(seq_len(ncol(values)), job$batches)
  smallest <- min(lengths(members))
  n_dims <- min(30, smallest - 1, nrow(values) - 1)
  if (n_dims < 2) cannot_run("a batch has too few cells")
  objects <- lapply(members, function(cells) {
    part <- values[, cells, drop = FALSE] # normalised over all genes, as NormalizeData would
    SetAssayData(CreateSeuratObject(part), "data", part)
  })
  anchors <- FindIntegrationAnchors(
    objects, anchor.features = rownames(values), dims = seq_len(n_dims), reduction = "cca",
    k.filter = min(200, smallest), k.score = min(30, smallest - 1), verbose = FALSE
  )
  # a cell is moved by its nearest anchors, of which every pair of batches must have as many
  pairs <- anchors@anchors
  of_pair <- table(paste(pmin(pairs$dataset1, pairs$dataset2), pmax(pairs$dataset1, pairs$dataset2)))
  n_pairs <- choose(length(members), 2)
  if (length(of_pair) < n_pairs) cannot_run("two batches have no anchor in common")
  n_anchors <- max(1, min(100, of_pair %/% 2 - 1))
  joint <- IntegrateData(anchors, dims = seq_len(n_dims), k.weight = n_anchors, verbose = FALSE)
  joint <- RunPCA(ScaleData(joint, verbose = FALSE), npcs = n_dims, verbose = FALSE)
  Embeddings(joint, "pca")[colnames(values), ]
}

run_integration(embed, "Seurat")
