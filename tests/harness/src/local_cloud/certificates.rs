//! The certificate authority of the local cloud and the certificate of its
//! registry, made anew for every cloud.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use super::StartError;

/// A TLS identity for the given names, and the authority to trust for it.
pub(crate) struct Certificates {
    /// The authority, PEM: what a client trusts.
    pub(crate) authority_pem: String,
    /// The server's side.
    pub(crate) acceptor: TlsAcceptor,
}

impl Certificates {
    /// Makes both. Names may be DNS names or IP addresses.
    pub(crate) fn make(names: Vec<String>) -> Result<Self, StartError> {
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "local cloud authority");
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let server_key = KeyPair::generate()?;
        let server = CertificateParams::new(names)?.signed_by(&server_key, &issuer)?;
        let key = PrivatePkcs8KeyDer::from(server_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], key.into())?;
        Ok(Self { authority_pem: authority_certificate.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}
