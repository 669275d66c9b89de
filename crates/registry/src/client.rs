//! Asking a registry: the little that `vps-test-registry get` needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot read `{path}`: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{path}` holds no PEM certificate")]
    NoCertificate { path: PathBuf },
    #[error("GET {url}: {source}")]
    Get {
        url: String,
        source: Box<ureq::Error>,
    },
}

/// The body of `GET url path`. Only the given authority is believed.
pub fn get(url: &str, path: &str, authority: Option<&Path>) -> Result<String, ClientError> {
    let url = format!(
        "{}/{}",
        url.trim_end_matches('/'),
        path.trim_start_matches('/')
    );
    let roots = authority.map_or_else(|| Ok(Vec::new()), certificates)?;
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .new_agent();
    let failed = |source: ureq::Error| ClientError::Get {
        url: url.clone(),
        source: source.into(),
    };
    let mut answer = agent.get(&url).call().map_err(failed)?;
    answer.body_mut().read_to_string().map_err(failed)
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, ClientError> {
    let pem = std::fs::read(path).map_err(|source| ClientError::Read {
        path: path.into(),
        source,
    })?;
    let found: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(ClientError::NoCertificate { path: path.into() });
    }
    Ok(found)
}
