//! TLS by rustls.

use super::connect::{Fault, Stream};
use super::item::TroubleKind;
use crate::core::error::{Error, Failure};
use crate::sys::PerProcess;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme, WantsVerifier,
};

/// What a client trusts.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

/// That of the system, read once: a store is some hundred kilobytes.
static SYSTEM: PerProcess<Mutex<Option<Tls>>> = PerProcess::new(|_| Mutex::new(None));

impl Tls {
    /// The system's authorities, those of a PEM file, or anybody.
    pub fn new(ca_file: Option<&Path>, insecure: bool) -> Result<Self, Failure> {
        if insecure {
            return Self::anybody();
        }
        let Some(file) = ca_file else {
            let mut system = SYSTEM.get().lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(tls) = &*system {
                return Ok(tls.clone());
            }
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            // Some stores have an odd one; those that are left have to do.
            roots.add_parsable_certificates(found.certs);
            let tls = Self::trusting(roots)?;
            *system = Some(tls.clone());
            return Ok(tls);
        };
        let bad = |why: String| {
            let file = file.display();
            Failure::new(Error::BadArgument, format!("the CA file {file}: {why}"))
        };
        let text = fs::read(file).map_err(|e| Failure {
            error: Error::Os,
            os: e.raw_os_error(),
            ..bad(crate::client::words(&e))
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            roots.add(certificate).map_err(|e| bad(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("it has no certificate".into()));
        }
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, Failure> {
        let mut config = Self::builder()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls(Arc::new(config)))
    }

    fn anybody() -> Result<Self, Failure> {
        let mut config = Self::builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(ring::default_provider())))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls(Arc::new(config)))
    }

    fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Failure> {
        // The provider is named, so that another in the process is not asked for.
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| Failure::new(Error::BadArgument, e.to_string()))
    }

    /// Settles TLS on that stream.
    pub(super) async fn connect(&self, stream: Stream, host: &str) -> Result<Stream, Fault> {
        let name = ServerName::try_from(host.to_owned());
        let name =
            name.map_err(|e| Fault::new(TroubleKind::Certificate, format!("{host:?}: {e}")))?;
        match TlsConnector::from(self.0.clone())
            .connect(name, stream)
            .await
        {
            Ok(stream) => Ok(Box::new(stream)),
            Err(e) => Err(fault_of(&e)),
        }
    }
}

fn fault_of(e: &std::io::Error) -> Fault {
    let inner = e.get_ref().and_then(|e| e.downcast_ref::<TlsError>());
    match inner {
        Some(TlsError::InvalidCertificate(why)) => Fault::new(
            TroubleKind::Certificate,
            format!("the server's certificate does not do: {why}"),
        ),
        _ => Fault::new(TroubleKind::Tls, format!("TLS failed: {}", super::words(e))),
    }
}

/// Asks nobody who they are.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
