# What the scripts of methods in R share; see exchange.py. Needs hdf5r, jsonlite and Matrix.

cannot_run <- function(reason) stop(structure(
  class = c("cannot_run", "error", "condition"), list(message = reason, call = NULL)
))

# Text of a column as AnnData stores it: strings, strings that may be missing, or categories.
texts <- function(stored) {
  if (!inherits(stored, "H5Group")) return(as.character(stored$read()))
  if (stored$exists("codes")) return(texts(stored[["categories"]])[stored[["codes"]]$read() + 1])
  texts(stored[["values"]])
}

# Sparse matrix genes x cells, as R's packages want it: the rows of a CSR are the columns of a CSC.
expression <- function(file, place) {
  if (!file$exists(place)) cannot_run("it needs counts, and these cells came without")
  group <- file[[place]]
  Matrix::sparseMatrix(
    i = as.integer(group[["indices"]]$read()), p = as.integer(group[["indptr"]]$read()),
    x = as.numeric(group[["data"]]$read()), dims = rev(hdf5r::h5attr(group, "shape")), index1 = FALSE
  )
}

# Prepared cells: ids, genes, labels (of a reference) and a function that reads an expression.
read_cells <- function(path) {
  file <- hdf5r::H5File$new(path, mode = "r")
  index <- function(table) texts(file[[table]][[hdf5r::h5attr(file[[table]], "_index")]])
  cells <- list(ids = index("obs"), genes = index("var"))
  if (file[["obs"]]$exists("label")) cells$labels <- texts(file[["obs"]][["label"]])
  cells$matrix <- function(place) {
    found <- expression(file, place)
    dimnames(found) <- list(cells$genes, cells$ids)
    found
  }
  cells
}

# Do the job of the command line: `annotate(job)` gives probabilities, cells x labels, with names of labels
# as the names of the columns, and in its attribute `told` what it knows of itself.
run <- function(annotate, package) {
  folder <- commandArgs(TRUE)[1]
  job <- jsonlite::read_json(file.path(folder, "job.json"))
  job$reference <- read_cells(job$reference)
  job$query <- read_cells(job$query)
  set.seed(job$seed)
  told <- list(version = paste(package, utils::packageVersion(package)))
  tryCatch({
    found <- annotate(job)
    table <- data.frame(cell_id = job$query$ids, found, check.names = FALSE)
    names(table) <- c("cell_id", colnames(found))
    utils::write.csv(table, file.path(folder, "probabilities.csv"), row.names = FALSE,
                     fileEncoding = "UTF-8")
    told <- c(told, attr(found, "told"))
  }, cannot_run = function(error) told$reason <<- conditionMessage(error))
  jsonlite::write_json(told, file.path(folder, "told.json"), auto_unbox = TRUE, digits = NA)
}

# The same for a method that puts all cells into one space: `embed(job)` gives (cells, dimensions), the cells of
# the reference first. `job$expression` is that of all cells, `job$peaks` are the query's, where they are read.
run_integration <- function(embed, package) {
  folder <- commandArgs(TRUE)[1]
  job <- jsonlite::read_json(file.path(folder, "job.json"), simplifyVector = TRUE)
  job$folder <- folder
  job$reference <- read_cells(job$reference)
  job$query <- read_cells(job$query)
  job$expression <- cbind(job$reference$matrix("X"), job$query$matrix("X"))
  peaks <- file.path(folder, "peaks.h5ad")
  if (file.exists(peaks)) job$peaks <- read_cells(peaks)$matrix("X")
  set.seed(job$seed)
  told <- stats::setNames(list(), character()) # with names even if empty, so that it is an object in JSON
  if (nzchar(package)) told$version <- paste(package, utils::packageVersion(package))
  tryCatch(write_npy(as.matrix(embed(job)), file.path(folder, "embedding.npy")),
           cannot_run = function(error) told$reason <<- conditionMessage(error))
  jsonlite::write_json(told, file.path(folder, "told.json"), auto_unbox = TRUE, digits = NA)
}

# A matrix of numbers as numpy stores it (version 1.0 of its format, columns one after the other).
write_npy <- function(values, path) {
  head <- sprintf("{'descr': '<f8', 'fortran_order': True, 'shape': (%d, %d), }", nrow(values), ncol(values))
  length <- 64 * ceiling((10 + nchar(head) + 1) / 64) - 10
  file <- file(path, "wb")
  on.exit(close(file))
  writeBin(as.raw(c(0x93, utf8ToInt("NUMPY"), 1, 0)), file)
  writeBin(as.integer(length), file, size = 2, endian = "little")
  writeChar(paste0(formatC(head, width = -(length - 1), flag = " "), "\n"), file, eos = NULL)
  writeBin(as.double(values), file, size = 8, endian = "little")
}

seconds_since <- function(start) as.numeric(proc.time()[["elapsed"]] - start)
now <- function() proc.time()[["elapsed"]]
