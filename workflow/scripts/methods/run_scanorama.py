"""Scanorama: mutual nearest neighbours of all pairs of batches (scanorama.integrate)."""

import exchange


def embed(job):
    import scanorama

    batches = [job.log_values[rows] for rows in job.rows_of_batches()]
    genes = [list(job.reference.genes)] * len(batches)
    parts, _ = scanorama.integrate(batches, genes, seed=job.seed, verbose=0)
    return job.in_order(parts)


if __name__ == "__main__":
    exchange.run_integration(embed, "scanorama")
