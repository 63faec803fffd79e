//! The cluster-wide manager.
#![forbid(unsafe_code)]
