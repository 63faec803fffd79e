//! The certificates that are accepted just now.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::CertificateDer;

/// A set of certificates, by who has published them; shared, and changed at any time.
#[derive(Clone, Debug, Default)]
pub struct Trusted(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    certificates: RwLock<BTreeMap<String, CertificateDer<'static>>>,
    /// Counts changes, so that connections need not ask at every read whether theirs is still in.
    changes: AtomicU64,
}

impl Trusted {
    /// From now on these, and no others. Connections of those that are not in any more end. Whether that was a change.
    pub fn replace(&self, certificates: BTreeMap<String, CertificateDer<'static>>) -> bool {
        let mut present = self.0.certificates.write().unwrap_or_else(PoisonError::into_inner);
        if *present == certificates {
            return false;
        }
        *present = certificates;
        self.0.changes.fetch_add(1, Ordering::Release);
        true
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        let present = self.0.certificates.read().unwrap_or_else(PoisonError::into_inner);
        present.values().any(|known| known == certificate)
    }

    /// Who is trusted, by name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let present = self.0.certificates.read().unwrap_or_else(PoisonError::into_inner);
        present.keys().cloned().collect()
    }

    /// Changes whenever the set does.
    pub(super) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }
}
