//! The registry's TLS certificate: self-signed, pinned by every client.
//!
//! There is no CA because there is nobody to trust but the engine, which reads
//! the certificate over SSH and hands it to the testers as their only root.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::civil::Date;
use jiff::{ToSpan as _, Zoned};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use crate::auth::write_private;

/// About thirteen months.
const VALID_DAYS: i64 = 397;

/// A certificate that is about to expire is made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the certificate is for and where it lies.
#[derive(Debug, Clone)]
pub struct Request {
    /// DNS names; the first one is the subject.
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// Gets `cert.pem` and `key.pem`, the key readable by the owner alone.
    pub directory: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Made,
    /// The one that is there serves for all names for the next month.
    Kept,
}

#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    #[error("`{name}` is not a DNS name: {reason}")]
    Name { name: String, reason: String },
    #[error("cannot make a certificate for {names}: {source}")]
    Make { names: String, source: rcgen::Error },
    #[error("cannot write `{path}`: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl Request {
    pub fn cert(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// Makes the pair where there is none that serves; safe to call at every start.
    pub fn certify(&self) -> Result<Outcome, CertifyError> {
        let names = self.server_names()?;
        if self.serves(&names, SystemTime::now()) {
            return Ok(Outcome::Kept);
        }
        let (cert, key) = self.make()?;
        // The certificate last: a pair that does not fit is made anew next time.
        write(&self.key(), &key)?;
        write(&self.cert(), &cert)?;
        Ok(Outcome::Made)
    }

    fn server_names(&self) -> Result<Vec<ServerName<'static>>, CertifyError> {
        let dns = self.names.iter().map(|name| {
            let bad = |reason: String| CertifyError::Name {
                name: name.clone(),
                reason,
            };
            match ServerName::try_from(name.clone()) {
                Ok(ServerName::DnsName(dns)) => Ok(ServerName::DnsName(dns)),
                Ok(_) => Err(bad("an IP address goes to --address".into())),
                Err(error) => Err(bad(error.to_string())),
            }
        });
        let addresses = self.addresses.iter().map(|a| Ok(ServerName::from(*a)));
        dns.chain(addresses).collect()
    }

    /// Whether a client that pins this certificate accepts it, now and in a month,
    /// under every name, and whether the key is its key.
    fn serves(&self, names: &[ServerName<'_>], now: SystemTime) -> bool {
        let provider = Arc::new(ring::default_provider());
        let Some(cert) = self.fitting_certificate(&provider) else {
            return false;
        };
        let Some(verifier) = pinned(&cert, provider) else {
            return false;
        };
        [now, now + RENEW_BEFORE].into_iter().all(|moment| {
            let since_epoch = moment
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let moment = UnixTime::since_unix_epoch(since_epoch);
            names.iter().all(|name| {
                verifier
                    .verify_server_cert(&cert, &[], name, &[], moment)
                    .is_ok()
            })
        })
    }

    fn fitting_certificate(&self, provider: &CryptoProvider) -> Option<CertificateDer<'static>> {
        let cert = CertificateDer::from_pem_file(self.cert()).ok()?;
        let key = PrivateKeyDer::from_pem_file(self.key()).ok()?;
        CertifiedKey::from_der(vec![cert.clone()], key, provider)
            .and_then(|pair| pair.keys_match())
            .ok()
            .map(|()| cert)
    }

    fn make(&self) -> Result<(String, String), CertifyError> {
        let subjects: Vec<String> = self
            .names
            .iter()
            .cloned()
            .chain(self.addresses.iter().map(IpAddr::to_string))
            .collect();
        let failed = |source| CertifyError::Make {
            names: subjects.join(", "),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params(&subjects)
            .and_then(|params| params.self_signed(&key))
            .map_err(failed)?;
        Ok((cert.pem(), key.serialize_pem()))
    }
}

fn params(subjects: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let today = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
    let mut params = CertificateParams::new(subjects)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        subjects.first().map_or("vps-test-registry", String::as_str),
    );
    // A node whose clock is behind accepts it, too.
    let (year, month, day) = year_month_day(today.saturating_sub(1.day()));
    params.not_before = rcgen::date_time_ymd(year, month, day);
    let (year, month, day) = year_month_day(today.saturating_add(VALID_DAYS.days()));
    params.not_after = rcgen::date_time_ymd(year, month, day);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn year_month_day(date: Date) -> (i32, u8, u8) {
    let unsigned = |small: i8| small.unsigned_abs();
    (
        date.year().into(),
        unsigned(date.month()),
        unsigned(date.day()),
    )
}

fn pinned(
    cert: &CertificateDer<'_>,
    provider: Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.clone().into_owned()).ok()?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .ok()
}

fn write(path: &Path, contents: &str) -> Result<(), CertifyError> {
    write_private(path, contents.as_bytes()).map_err(|source| CertifyError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn request(directory: &Path) -> Request {
        Request {
            names: vec!["saorsa-1.saorsalabs.com".into()],
            addresses: vec!["198.18.0.1".parse().unwrap()],
            directory: directory.to_owned(),
        }
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let request = request(&dir.path().join("tls"));
        assert_eq!(request.certify().unwrap(), Outcome::Made);
        let first = read(&request.cert());
        let mode = std::fs::metadata(request.key())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(request.certify().unwrap(), Outcome::Kept);
        assert_eq!(read(&request.cert()), first);
    }

    #[test]
    fn a_new_name_or_a_strange_key_needs_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut request = request(dir.path());
        request.certify().unwrap();
        request.addresses.push("198.18.0.2".parse().unwrap());
        assert_eq!(request.certify().unwrap(), Outcome::Made);

        std::fs::write(request.key(), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert_eq!(request.certify().unwrap(), Outcome::Made);
        std::fs::write(request.cert(), "half a certificate").unwrap();
        assert_eq!(request.certify().unwrap(), Outcome::Made);
    }

    #[test]
    fn it_serves_for_thirteen_months_and_is_renewed_a_month_before() {
        let dir = tempfile::tempdir().unwrap();
        let request = request(dir.path());
        request.certify().unwrap();
        let names = request.server_names().unwrap();
        let day = Duration::from_secs(24 * 3600);
        assert!(request.serves(&names, SystemTime::now() + 365 * day));
        assert!(!request.serves(&names, SystemTime::now() + 368 * day));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", "a b", "198.18.0.1", "-x-"] {
            let mut request = request(dir.path());
            request.names = vec![bad.into()];
            assert!(
                matches!(request.certify(), Err(CertifyError::Name { .. })),
                "{bad:?}"
            );
        }
    }
}
