//! A process' own key pair and certificate.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;

use super::PeerError;

/// Longer texts are no certificate of ours: those take 600 bytes.
const LONGEST_PEM: usize = 16 << 10;

/// A key pair and its self-signed certificate. The key is never written anywhere.
pub struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Identity").field("pem", &self.pem).finish_non_exhaustive()
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { certificate: self.certificate.clone(), pem: self.pem.clone(), key: self.key.clone_key() }
    }
}

impl Identity {
    /// A new one (ECDSA P-256). The name is for people: nobody decides by it.
    ///
    /// # Errors
    /// If the name cannot stand in a certificate, or there are no random numbers.
    pub fn generate(name: &str) -> Result<Self, PeerError> {
        let failed = |error: rcgen::Error| PeerError::Generate { name: name.into(), why: error.to_string() };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(failed)?;
        let mut subject = DistinguishedName::new();
        // Longer ones are not allowed there, and the whole one is in the alternative names.
        subject.push(DnType::CommonName, name.chars().take(64).collect::<String>());
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.self_signed(&key).map_err(failed)?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Self { pem: certificate.pem(), certificate: certificate.der().clone(), key: private.into() })
    }

    /// The certificate, to be published.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

/// Reads a certificate that a peer has published.
///
/// # Errors
/// If it is none.
pub fn certificate_from_pem(pem: &str) -> Result<CertificateDer<'static>, PeerError> {
    if pem.len() > LONGEST_PEM {
        return Err(PeerError::Certificate(format!("it has {} bytes", pem.len())));
    }
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| PeerError::Certificate(error.to_string()))?;
    ParsedCertificate::try_from(&certificate).map_err(|error| PeerError::Certificate(error.to_string()))?;
    Ok(certificate)
}
