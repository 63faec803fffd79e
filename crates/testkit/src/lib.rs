//! For tests only: network namespaces, topologies, runtimes.
