//! TLS 1.3 with exact certificates in place of authorities and names.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

use super::{Identity, PeerError, Trusted};

const PROTOCOL: &[u8] = b"http/1.1";

/// For whoever takes connections of those that are trusted, and of nobody else.
///
/// # Errors
/// If the identity's key does not work.
pub fn server_config(identity: &Identity, trusted: &Trusted) -> Result<Arc<ServerConfig>, PeerError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Pinned { provider: Arc::clone(&provider), trusted: trusted.clone() });
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_client_cert_verifier(verifier);
    let config = builder.with_single_cert(vec![identity.certificate().clone()], identity.key());
    Ok(finished(config.map_err(setup)?))
}

/// For whoever takes connections of everybody (and asks for a token then).
///
/// # Errors
/// If the identity's key does not work.
pub fn open_server_config(identity: &Identity) -> Result<Arc<ServerConfig>, PeerError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_no_client_auth();
    let config = builder.with_single_cert(vec![identity.certificate().clone()], identity.key());
    Ok(finished(config.map_err(setup)?))
}

/// For whoever connects to the one that has exactly this certificate.
///
/// # Errors
/// If the identity's key does not work.
pub fn client_config(
    identity: Option<&Identity>,
    expected: &CertificateDer<'_>,
) -> Result<Arc<ClientConfig>, PeerError> {
    let provider = Arc::new(ring::default_provider());
    let only = Arc::new(Only { provider: Arc::clone(&provider), expected: expected.clone().into_owned() });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(only);
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(vec![identity.certificate().clone()], identity.key())
            .map_err(setup)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// A resumed session shows no certificate again: one that is not trusted any more would live on.
fn finished(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Arc::new(config)
}

fn setup(error: Error) -> PeerError {
    PeerError::Setup(error.to_string())
}

fn unknown() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

/// Accepts clients whose certificate is one of the set.
#[derive(Debug)]
struct Pinned {
    provider: Arc<CryptoProvider>,
    trusted: Trusted,
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.trusted.contains(end_entity) { Ok(ClientCertVerified::assertion()) } else { Err(unknown()) }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts the server that has this certificate.
#[derive(Debug)]
struct Only {
    provider: Arc<CryptoProvider>,
    expected: CertificateDer<'static>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.expected { Ok(ServerCertVerified::assertion()) } else { Err(unknown()) }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
