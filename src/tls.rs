//! TLS to a database: what is trusted, in libpq's grades.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Whom a connection may end at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Encrypted, to whoever answers: sslmode=prefer, require.
    #[default]
    Anybody,
    /// A server whose certificate an authority has signed: verify-ca.
    Authority,
    /// And which is issued for the host that the connection names: verify-full.
    AuthorityAndName,
}

/// What a connection string wants of TLS.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub mode: SslMode,
    pub trust: Trust,
    /// The certificates of the authorities, in PEM; those of the system where there is none.
    pub root: Option<PathBuf>,
    /// The client's own certificate and its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { mode: SslMode::Disable, trust: Trust::Anybody, root: None, identity: None }
    }
}

/// What makes connections of this kind; or why none can be made, such as a file that cannot be read.
pub fn connector(wanted: &Wanted) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { trust: wanted.trust, authorities: authorities(wanted)?, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &wanted.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("sslkey", key, error))?;
            builder
                .with_client_auth_cert(certificates("sslcert", certificate)?, private)
                .map_err(|error| format!("sslcert {} and sslkey {}: {error}", certificate.display(), key.display()))?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn unreadable(parameter: &str, path: &Path, error: rustls::pki_types::pem::Error) -> String {
    format!("cannot read {parameter} {}: {error}", path.display())
}

fn certificates(parameter: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(found) if found.is_empty() => {
            Err(format!("cannot read {parameter} {}: it holds no certificate", path.display()))
        }
        read => read.map_err(|error| unreadable(parameter, path, error)),
    }
}

/// The certificates that are trusted.
fn authorities(wanted: &Wanted) -> Result<Vec<CertificateDer<'static>>, String> {
    match (wanted.trust, &wanted.root) {
        (Trust::Anybody, _) => Ok(Vec::new()),
        (_, Some(root)) => certificates("sslrootcert", root),
        (_, None) => match rustls_native_certs::load_native_certs().certs {
            found if found.is_empty() => {
                Err("this system trusts no authority: name one by sslrootcert=FILE, in PEM".into())
            }
            found => Ok(found),
        },
    }
}

/// Verifies a server's certificate as far as it is asked to.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trust == Trust::Anybody {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        // A server that signed its certificate itself is trusted by naming that certificate as the authority; such a one is mostly
        // marked as an authority's own, which the verification of a chain refuses.
        if !self.authorities.iter().any(|authority| authority == certificate) {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(self.authorities.iter().cloned());
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &roots, intermediates, now, algorithms)?;
        }
        if self.trust == Trust::AuthorityAndName {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a person can do about a handshake that failed; `None` where TLS is not to blame.
pub fn advice(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let tls = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                return Some("name the authority that signed the server's certificate: sslrootcert=FILE, in PEM");
            }
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {
                return Some("connect by the name that the certificate is issued for, or use sslmode=verify-ca");
            }
            _ => cause = error.source(),
        }
    }
    None
}
