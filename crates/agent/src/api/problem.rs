//! Faults as answers.

use portcullis_web::Refusal;

use crate::control::Fault;

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Invalid(detail) => Self::invalid(detail),
            Fault::NotFound(detail) => Self::not_found(detail),
            Fault::Conflict(detail) => Self::conflict(detail),
            Fault::Failed(detail) => Self::failed(detail),
        }
    }
}
