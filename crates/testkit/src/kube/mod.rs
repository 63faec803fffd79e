//! The real cluster for tests: etcd and Kubernetes' own programs in network namespaces.
//!
//! [`ControlPlane::api_only`] is etcd and an API server, up in seconds: everything that is API works, and nothing
//! runs. [`Cluster`] has the controllers, the scheduler and nodes besides. A [`Node`] is a machine of its own as far as
//! that goes without a virtual one: a network namespace, and a mount namespace in which `/run`, `/sys/fs/bpf`,
//! `/etc/cni/net.d`, `/opt/cni/bin` and `/var/lib/…` are the node's; kubelet and containerd use their usual paths there,
//! and so do pods that mount paths of the host. Processes are the machine's: a pod with `hostPID` sees all.
//!
//! The programs are those that `./dev setup kubernetes` built: Kubernetes 1.20, the last that a distribution has the
//! sources of. Several clusters can be there at a time.

mod access;
mod account;
mod cluster;
mod control;
mod images;
mod installed;
mod kubelet;
mod machine;
mod node;
mod programs;
mod setup;
mod trust;

pub use cluster::{Cluster, ClusterOptions};
pub use control::ControlPlane;
pub use images::PORTCULLIS_IMAGE;
pub use installed::{SYSTEM, rendered};
pub use node::Node;
pub use setup::{Plan, SERVICE_ADDRESS};
