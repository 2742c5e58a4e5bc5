# bindSC: canonical correlations between expression and gene activity, and between gene activity and peaks, found
# together (BiCCA), by the authors' code in a folder that the user names (github.com/KChen-lab/bindSC). As in their
# example of the two modalities of a retina: 30 dimensions of expression and activity together, 50 of the peaks, alpha
# and lambda 0.5, 15 canonical vectors, 50 iterations.

suppressPackageStartupMessages({
  library(Matrix)
  library(irlba)
})
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1]))
source(file.path(here, "exchange.R"))

embed <- function(job) {
  theirs <- functions_of(job$provided)
  inside <- seq_along(job$reference$ids)
  X <- job$expression[, inside]
  activity <- job$expression[, -inside]
  n_cells <- min(ncol(X), ncol(activity))
  if (n_cells < 60) cannot_run("it needs 60 cells of either modality")
  joint <- theirs$dimReduce(dt1 = as.matrix(X), dt2 = as.matrix(activity), K = 30)
  peaks <- irlba(weighted(job$peaks), nv = 50)$v
  rownames(peaks) <- colnames(activity) # by which BiCCA looks for names
  one <- function(cells) rep("all", ncol(cells)) # clusters, which it checks and does not use
  found <- theirs$BiCCA(
    X = t(joint$dt1), Z0 = t(joint$dt2), Y = t(peaks), X.clst = one(X), Y.clst = one(activity),
    alpha = 0.5, lambda = 0.5, K = 15, num.iteration = 50
  )
  rbind(found$u, found$r)
}

# The functions of the folder; a bar of progress, for which they need a package, is seen by nobody.
functions_of <- function(folder) {
  files <- file.path(folder, "R", c("generics.R", "BiCCA.R"))
  if (!all(file.exists(files))) {
    cannot_run("folder not provided: expected R/generics.R and R/BiCCA.R of a clone of KChen-lab/bindSC")
  }
  theirs <- new.env()
  theirs$progress_bar <- list(new = function(...) list(tick = function() NULL))
  for (file in files) sys.source(file, theirs)
  theirs
}

# Peaks by their rarity, as for latent semantic indexing.
weighted <- function(counts) {
  counts <- counts[rowSums(counts) > 0, ]
  rarity <- log1p(ncol(counts) / rowSums(counts > 0))
  log1p(1e4 * Diagonal(x = rarity) %*% counts %*% Diagonal(x = 1 / pmax(colSums(counts), 1)))
}

run_integration(embed, "")
