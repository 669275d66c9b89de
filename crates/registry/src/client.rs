//! Asking a registry: the little that `vps-test-registry get` and `post` need.

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
    #[error("{url} answered {status}: {answer}")]
    Refused {
        url: String,
        status: u16,
        answer: String,
    },
    #[error("{url}: {source}")]
    Ask {
        url: String,
        source: Box<ureq::Error>,
    },
}

/// A question to a registry.
#[derive(Debug)]
pub struct Ask<'a> {
    pub url: &'a str,
    pub path: &'a str,
    /// Only this authority is believed.
    pub authority: Option<&'a Path>,
    pub token: Option<&'a str>,
    /// Posts it.
    pub body: Option<&'a [u8]>,
}

impl Ask<'_> {
    /// What the registry answers.
    ///
    /// # Errors
    /// It could not be asked, or its answer is not 2xx: then with its words.
    pub fn send(&self) -> Result<String, ClientError> {
        let url = format!(
            "{}/{}",
            self.url.trim_end_matches('/'),
            self.path.trim_start_matches('/')
        );
        let roots = self
            .authority
            .map_or_else(|| Ok(Vec::new()), certificates)?;
        let failed = |source: ureq::Error| ClientError::Ask {
            url: url.clone(),
            source: source.into(),
        };
        let answer = self.call(&agent(&roots), &url);
        let mut answer = answer.map_err(failed)?;
        let text = answer.body_mut().read_to_string().map_err(failed)?;
        if answer.status().is_success() {
            return Ok(text);
        }
        Err(ClientError::Refused {
            url,
            status: answer.status().as_u16(),
            answer: text,
        })
    }

    fn call(
        &self,
        agent: &ureq::Agent,
        url: &str,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let authorization = self.token.map(|token| format!("Bearer {token}"));
        match self.body {
            None => {
                let mut request = agent.get(url);
                if let Some(value) = &authorization {
                    request = request.header("Authorization", value);
                }
                request.call()
            }
            Some(body) => {
                let mut request = agent.post(url);
                if let Some(value) = &authorization {
                    request = request.header("Authorization", value);
                }
                request.send(body)
            }
        }
    }
}

fn agent(roots: &[Certificate<'static>]) -> ureq::Agent {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(roots))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build()
        .new_agent()
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
