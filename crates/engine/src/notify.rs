//! Telling people how a run goes: a hook command and a webhook, each with a thread
//! and a queue of its own. What fails or hangs there never delays the run.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::config::NotifyConfig;
use model::event::Entry;
use model::notice::{self, Notice};
use model::run::Run;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::recorder::Sink;

/// How long one message may take; a hook that speaks needs its time.
const LIMIT: Duration = Duration::from_secs(30);

/// How long the end of the run waits for what is still to be said.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Messages that may wait; more are dropped.
const QUEUE: usize = 64;

/// A sink of the recorder.
pub struct Notifier {
    config: NotifyConfig,
    run_dir: PathBuf,
    lines: Mutex<Vec<Line>>,
}

struct Line {
    queue: Option<SyncSender<Notice>>,
    worker: Option<JoinHandle<()>>,
}

impl Notifier {
    /// `None` where nobody is to be told.
    pub fn new(
        config: &NotifyConfig,
        default_hook: Option<PathBuf>,
        run_dir: PathBuf,
    ) -> Option<Self> {
        let hook = match &config.hook {
            Some(line) => shell_words::split(line).unwrap_or_default(),
            None => default_hook.map(hook_words).unwrap_or_default(),
        };
        let mut lines = Vec::new();
        if !hook.is_empty() {
            lines.push(Line::new(move |notice| tell_hook(&hook, notice)));
        }
        if let Some(url) = config.webhook.clone() {
            lines.push(Line::new(move |notice| post(&url, notice)));
        }
        (!lines.is_empty()).then(|| Self {
            config: config.clone(),
            run_dir,
            lines: Mutex::new(lines),
        })
    }
}

impl Sink for Notifier {
    fn entry(&self, entry: &Entry, run: &Run) {
        let Some(notice) = notice::of(entry, run, &self.run_dir.display().to_string()) else {
            return;
        };
        if !self.config.on.contains(&notice.kind) {
            return;
        }
        let lines = self.lines.lock();
        for line in lines.iter().flat_map(|lines| lines.iter()) {
            if let Some(queue) = &line.queue {
                let _ = queue.try_send(notice.clone());
            }
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        let Ok(lines) = self.lines.get_mut() else {
            return;
        };
        for line in lines.iter_mut() {
            line.queue = None;
        }
        let began = Instant::now();
        for line in lines {
            while let Some(worker) = &line.worker
                && !worker.is_finished()
                && began.elapsed() < LAST_WORDS
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            line.worker = None;
        }
        // A hook that still speaks is left to finish; nobody waits for it.
    }
}

impl Line {
    fn new(tell: impl Fn(&Notice) + Send + 'static) -> Self {
        let (queue, waiting): (SyncSender<Notice>, Receiver<Notice>) = sync_channel(QUEUE);
        let worker = std::thread::spawn(move || {
            for notice in waiting {
                tell(&notice);
            }
        });
        Self {
            queue: Some(queue),
            worker: Some(worker),
        }
    }
}

/// A script that is no program yet is one for Python.
fn hook_words(path: PathBuf) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let is_program = std::fs::metadata(&path).is_ok_and(|m| m.permissions().mode() & 0o111 != 0);
    let path = path.display().to_string();
    if is_program {
        vec![path]
    } else {
        vec!["python3".into(), path]
    }
}

/// One line of text as argument, the event as JSON on standard input.
fn tell_hook(words: &[String], notice: &Notice) {
    let Some((program, arguments)) = words.split_first() else {
        return;
    };
    let spawned = Command::new(program)
        .args(arguments)
        .arg(&notice.text)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!("cannot run the hook `{program}`: {error}");
            return;
        }
    };
    if let (Some(mut stdin), Ok(json)) = (child.stdin.take(), serde_json::to_vec(notice)) {
        // A pipe holds more than this; a hook that does not read disturbs nobody.
        let _ = stdin.write_all(&json);
    }
    let began = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if began.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            tracing::warn!(
                "the hook `{program}` did not end within {} s",
                LIMIT.as_secs()
            );
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where systems keep the certificates that they trust.
const TRUSTED: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

fn trusted() -> Vec<Certificate<'static>> {
    let pem = TRUSTED.iter().find_map(|file| std::fs::read(file).ok());
    parse_pem(&pem.unwrap_or_default())
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

fn post(url: &str, notice: &Notice) {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(ring)
        .root_certs(RootCerts::new_with_certs(&trusted()))
        .build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(LIMIT))
        .build()
        .new_agent();
    if agent.post(url).send_json(notice).is_err() {
        // The address may hold a secret: it is not repeated.
        tracing::warn!("the webhook did not take `{}`", notice.text);
    }
}
