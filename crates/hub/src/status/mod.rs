//! What is said of each `GatePolicy`, in its status: by the leader alone, from what the nodes say.

mod assess;
mod conditions;
mod conflicts;
pub mod definitions;
mod task;
#[cfg(test)]
mod tests;

pub use assess::{Assessment, OwnPod, Picture, assess};
pub use task::{Writer, run};
