"""The runner where its head and its nodes are ranks of one MPI program. Standard library, and mpi4py."""
