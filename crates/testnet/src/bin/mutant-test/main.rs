//! A tester that is broken on purpose: `udp-test` behind a socket of its own,
//! some of whose answers are altered on their way. The mutation is the name that
//! the executable was deployed under, such as `mutant-hollow`.

mod relay;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

#[derive(Clone, Copy, PartialEq)]
enum Mutation {
    /// None: shows that the rest is not to blame.
    Honest,
    /// Exchanges nothing, and says that it did.
    Hollow,
    /// Says that it is another executable than it is.
    Stale,
    /// Never answers every tenth call.
    Drops,
    /// Ends after a few exchanges, and does not come back.
    Stops,
    /// Goes through a third host wherever there is one, and calls it direct.
    Relays,
}

const EXCHANGES_BEFORE_STOP: u32 = 1;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    // Not what it was called by: a unit calls a link, and the link's target has the name.
    let own = std::env::current_exe()?;
    if args.get(1).map(String::as_str) != Some("agent") {
        if named(&own)? == Mutation::Relays {
            relay::serve();
            let ended = Command::new(original(&own)?).args(&args[1..]).status()?;
            anyhow::bail!("the coordinator ended with {ended}");
        }
        return Err(Command::new(original(&own)?).args(&args[1..]).exec().into());
    }
    let mutation = named(&own)?;
    let at = args
        .iter()
        .position(|arg| arg == "--socket")
        .ok_or_else(|| anyhow::anyhow!("no --socket"))?;
    let socket = PathBuf::from(&args[at + 1]);
    let hidden = socket.with_extension("hidden");
    let mark = socket.with_extension("stopped");
    anyhow::ensure!(
        mutation != Mutation::Stops || !mark.exists(),
        "stopped for good"
    );
    let mut inner = args[1..].to_vec();
    inner[at] = hidden.display().to_string();
    let child = Arc::new(Mutex::new(
        Command::new(original(&own)?).args(&inner).spawn()?,
    ));
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    let mutant = Arc::new(Mutant {
        mutation,
        digest: digest()?,
        answers: AtomicU32::new(0),
        exchanges: AtomicU32::new(0),
        child,
        mark,
        detours: relay::Detours::default(),
    });
    for client in listener.incoming() {
        let server = connect(&hidden)?;
        converse(&mutant, client?, server)?;
    }
    Ok(())
}

struct Mutant {
    mutation: Mutation,
    digest: String,
    answers: AtomicU32,
    exchanges: AtomicU32,
    child: Arc<Mutex<Child>>,
    mark: PathBuf,
    detours: relay::Detours,
}

fn named(own: &Path) -> anyhow::Result<Mutation> {
    let name = own
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let known = [
        ("mutant-honest", Mutation::Honest),
        ("mutant-hollow", Mutation::Hollow),
        ("mutant-stale", Mutation::Stale),
        ("mutant-drops", Mutation::Drops),
        ("mutant-stops", Mutation::Stops),
        ("mutant-relays", Mutation::Relays),
    ];
    let found = known.iter().find(|(word, _)| name.starts_with(word));
    found
        .map(|(_, mutation)| *mutation)
        .ok_or_else(|| anyhow::anyhow!("no mutation is called `{name}`"))
}

/// `udp-test`, which is deployed beside as the reference.
fn original(own: &Path) -> anyhow::Result<PathBuf> {
    let dir = own.parent().unwrap_or(Path::new("."));
    for _ in 0..100 {
        let mut found = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path());
        let is_it = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("udp-test-") && !path.is_symlink() && !name.contains('.')
        };
        if let Some(path) = found.find(is_it) {
            return Ok(path);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    anyhow::bail!("no udp-test beside `{}`", own.display())
}

fn digest() -> anyhow::Result<String> {
    let path = std::fs::read_link("/proc/self/exe")?;
    let output = Command::new("sha256sum").arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

fn connect(hidden: &Path) -> anyhow::Result<UnixStream> {
    for _ in 0..100 {
        if let Ok(stream) = UnixStream::connect(hidden) {
            return Ok(stream);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("the tester behind does not listen")
}

/// Requests one way, answers the other, each line as it comes.
fn converse(mutant: &Arc<Mutant>, client: UnixStream, server: UnixStream) -> anyhow::Result<()> {
    // By id: the method, and the attempt that it is about.
    let asked: Arc<Mutex<std::collections::HashMap<u64, (String, String)>>> = Arc::default();
    let requests = BufReader::new(client.try_clone()?);
    let answers = BufReader::new(server.try_clone()?);
    let (to_client, to_server) = (Arc::new(Mutex::new(client)), server);
    let (m, known, straight) = (
        Arc::clone(mutant),
        Arc::clone(&asked),
        Arc::clone(&to_client),
    );
    std::thread::spawn(move || {
        let mut to_server = to_server;
        for line in requests.lines().map_while(Result::ok) {
            let Ok(mut request) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let method = request["method"].as_str().unwrap_or_default().to_owned();
            let id = request["id"].as_u64().unwrap_or_default();
            if let Some(answer) = m.instead(&method, &request) {
                let line = json!({ "id": id, "result": answer });
                let _ = writeln!(lock(&straight), "{line}");
                continue;
            }
            m.request(&method, &mut request);
            lock(&known).insert(id, (method, relay::attempt(&request)));
            let _ = writeln!(to_server, "{request}");
        }
        let _ = to_server.shutdown(std::net::Shutdown::Both);
    });
    let mutant = Arc::clone(mutant);
    std::thread::spawn(move || {
        for line in answers.lines().map_while(Result::ok) {
            let Ok(mut answer) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let id = answer["id"].as_u64().unwrap_or_default();
            let (method, attempt) = lock(&asked).remove(&id).unwrap_or_default();
            if method == "prepare" {
                mutant.detours.prepared(&attempt, &answer["result"]);
            }
            if mutant.answer(&method, &mut answer) {
                let _ = writeln!(lock(&to_client), "{answer}");
            }
        }
    });
    Ok(())
}

impl Mutant {
    /// An answer without the tester behind ever being asked.
    fn instead(&self, method: &str, request: &Value) -> Option<Value> {
        let hollow = self.mutation == Mutation::Hollow && method == "exchange";
        hollow.then(|| {
            let attempt = request["params"]["attempt"].to_string();
            let made_up = format!("{:064x}", attempt.len());
            json!({
                "sent": { "bytes": 262_144, "acknowledged_sha256": made_up },
                "received": { "bytes": 262_144, "sha256": made_up },
                "elapsed_ms": 1.5
            })
        })
    }

    /// What the tester behind is asked in its place.
    fn request(&self, method: &str, request: &mut Value) {
        match method {
            "prepare" => self.detours.asked_to_prepare(request),
            "dial" | "expect" if self.mutation == Mutation::Relays => {
                self.detours.turn_aside(request);
            }
            _ => {}
        }
    }

    /// Whether the answer is given at all.
    fn answer(&self, method: &str, answer: &mut Value) -> bool {
        let result = &mut answer["result"];
        match method {
            "hello" => {
                // The proxy stands for what was deployed.
                result["digest"] = json!(match self.mutation {
                    Mutation::Stale => "0".repeat(64),
                    _ => self.digest.clone(),
                });
                return true;
            }
            "exchange" if self.mutation == Mutation::Stops => {
                let done = self.exchanges.fetch_add(1, Ordering::SeqCst) + 1;
                if done > EXCHANGES_BEFORE_STOP {
                    self.stop();
                }
            }
            _ => {}
        }
        let count = self.answers.fetch_add(1, Ordering::SeqCst) + 1;
        self.mutation != Mutation::Drops || !count.is_multiple_of(10)
    }

    fn stop(&self) -> ! {
        let _ = std::fs::write(&self.mark, "");
        let _ = lock(&self.child).kill();
        std::process::exit(1)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
