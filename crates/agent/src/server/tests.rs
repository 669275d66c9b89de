use std::sync::atomic::{AtomicUsize, Ordering};

use model::protocol::*;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, Lines};
use tokio::net::unix::OwnedReadHalf;

use super::*;
use crate::tester::Description;

/// Does what the attempt's name says.
struct Scripted {
    finished: AtomicUsize,
}

impl Tester for Scripted {
    type Attempt = AttemptId;

    fn describe(&self) -> Description {
        Description {
            tester: "scripted",
            version: "1",
            stack: "none",
            stack_version: "1".into(),
            capabilities: vec![],
            rungs: vec![Rung::Direct],
            log_filter: "",
        }
    }

    async fn prepare(&self, call: Prepare) -> Result<(AttemptId, Prepared), Failure> {
        assert_ne!(call.attempt.0, "panic", "asked to");
        if call.attempt.0 == "hang" {
            std::future::pending::<()>().await;
        }
        let prepared = Prepared {
            peer: "p".into(),
            local: call.bind,
            observed: vec![],
        };
        Ok((call.attempt, prepared))
    }

    async fn dial(&self, _: &AttemptId, call: Dial) -> Result<Connected, Failure> {
        tokio::time::sleep(Duration::from_millis(call.timeout_ms.min(400))).await;
        Err(Failure::new(Reason::NoAddress, "none"))
    }

    async fn exchange(&self, attempt: &AttemptId, _: Exchange) -> Result<Exchanged, Failure> {
        panic!("no exchange for {attempt}");
    }

    async fn finish(&self, _: &AttemptId) -> Finished {
        self.finished.fetch_add(1, Ordering::Relaxed);
        Finished {
            local: "127.0.0.1:1".parse().unwrap(),
            observed: vec![],
            remote: None,
            claimed: ClaimedPath::Unknown,
            sent: None,
            received: None,
        }
    }
}

struct Rig {
    server: Arc<Server<Scripted>>,
    directory: tempfile::TempDir,
    end: tokio::sync::oneshot::Sender<()>,
    running: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tester = Scripted {
            finished: AtomicUsize::new(0),
        };
        let hello = Hello {
            protocol: VERSION,
            tester: "scripted".into(),
            stack: "none".into(),
            stack_version: "1".into(),
            node: "n".into(),
            pid: 1,
            digest: "d".into(),
            capabilities: vec![],
            rungs: vec![Rung::Direct],
        };
        let server = Server::bind(tester, hello, &directory.path().join("s")).unwrap();
        let (end, ended) = tokio::sync::oneshot::channel();
        let running = {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                server
                    .run_until(async {
                        let _ = ended.await;
                    })
                    .await;
            })
        };
        Self {
            server,
            directory,
            end,
            running,
        }
    }

    async fn connect(&self) -> Talk {
        let stream = UnixStream::connect(self.directory.path().join("s"))
            .await
            .unwrap();
        let (read, write) = stream.into_split();
        Talk {
            lines: BufReader::new(read).lines(),
            write,
        }
    }
}

struct Talk {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

impl Talk {
    async fn say(&mut self, line: &str) {
        self.write
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(5), self.lines.next_line());
        serde_json::from_str(&line.await.unwrap().unwrap().unwrap()).unwrap()
    }

    async fn ask(&mut self, request: Value) -> Value {
        self.say(&request.to_string()).await;
        self.hear().await
    }
}

fn prepare(id: u64, attempt: &str, timeout_ms: u64) -> Value {
    json!({"id": id, "method": "prepare", "params": {
        "attempt": attempt, "bind": "127.0.0.1:1", "coordinators": [],
        "payload": {"seed": "s", "bytes": 1}, "timeout_ms": timeout_ms}})
}

fn dial(id: u64, attempt: &str, timeout_ms: u64) -> Value {
    json!({"id": id, "method": "dial", "params": {"attempt": attempt, "rung": "direct",
        "target": {"peer": "p", "addresses": [], "relays": []}, "timeout_ms": timeout_ms}})
}

fn finish(id: u64, attempt: &str) -> Value {
    json!({"id": id, "method": "finish", "params": {"attempt": attempt}})
}

fn reason(answer: &Value) -> &str {
    answer["error"]["reason"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn hello_says_who_is_there() {
    let rig = Rig::new();
    let answer = rig
        .connect()
        .await
        .ask(json!({"id": 1, "method": "hello"}))
        .await;
    assert_eq!(answer["id"], 1);
    assert_eq!(answer["result"]["tester"], "scripted");
}

#[tokio::test]
async fn bad_lines_are_answered_and_the_connection_lives() {
    let rig = Rig::new();
    let mut talk = rig.connect().await;
    talk.say("{not json").await;
    let answer = talk.hear().await;
    assert_eq!((&answer["id"], reason(&answer)), (&json!(0), "bad_request"));
    let answer = talk.ask(json!({"id": 2, "method": "teleport"})).await;
    assert_eq!((&answer["id"], reason(&answer)), (&json!(2), "unsupported"));
    let answer = talk.ask(json!({"id": 3, "method": "dial"})).await;
    assert_eq!((&answer["id"], reason(&answer)), (&json!(3), "bad_request"));
    let answer = talk.ask(finish(4, "nobody")).await;
    assert_eq!((&answer["id"], reason(&answer)), (&json!(4), "bad_request"));
    let answer = talk
        .ask(json!({"id": 5, "method": "announce", "params": {"attempt": "nobody", "timeout_ms": 1}}))
        .await;
    assert_eq!(reason(&answer), "bad_request");
}

#[tokio::test]
async fn answers_come_in_any_order() {
    let rig = Rig::new();
    let mut talk = rig.connect().await;
    talk.ask(prepare(1, "a", 1000)).await;
    talk.say(&dial(2, "a", 400).to_string()).await;
    talk.say(&json!({"id": 3, "method": "hello"}).to_string())
        .await;
    assert_eq!(talk.hear().await["id"], 3);
    assert_eq!(talk.hear().await["id"], 2);
}

#[tokio::test]
async fn a_panic_is_one_calls_stack_failure() {
    let rig = Rig::new();
    let mut talk = rig.connect().await;
    let answer = talk.ask(prepare(1, "panic", 1000)).await;
    assert_eq!(reason(&answer), "stack");
    assert!(answer.to_string().contains("asked to"), "{answer}");
    // Nothing of it remains, and the process goes on.
    assert_eq!(rig.server.attempts.open(), 0);
    talk.ask(prepare(2, "a", 1000)).await;
    let exchange =
        json!({"id": 3, "method": "exchange", "params": {"attempt": "a", "timeout_ms": 9}});
    assert_eq!(reason(&talk.ask(exchange).await), "stack");
    assert!(talk.ask(finish(4, "a")).await["result"].is_object());
}

#[tokio::test]
async fn a_call_that_hangs_ends_at_its_deadline() {
    let rig = Rig::new();
    let began = Instant::now();
    let answer = rig.connect().await.ask(prepare(1, "hang", 200)).await;
    assert_eq!(reason(&answer), "timeout");
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(rig.server.attempts.open(), 0);
}

#[tokio::test]
async fn finish_ends_what_runs() {
    let rig = Rig::new();
    let mut talk = rig.connect().await;
    talk.say(&prepare(1, "hang", 60_000).to_string()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    talk.say(&finish(2, "hang").to_string()).await;
    let answers = [talk.hear().await, talk.hear().await];
    let by_id = |id: u64| answers.iter().find(|a| a["id"] == id).unwrap();
    assert_eq!(reason(by_id(1)), "closed");
    assert_eq!(reason(by_id(2)), "bad_request");
}

#[tokio::test]
async fn an_attempt_outlives_its_connection() {
    let rig = Rig::new();
    let mut first = rig.connect().await;
    first.ask(prepare(1, "a", 1000)).await;
    first.say(&dial(2, "a", 300).to_string()).await;
    drop(first);
    let answer = rig.connect().await.ask(finish(1, "a")).await;
    assert!(answer["result"].is_object(), "{answer}");
}

#[tokio::test]
async fn the_end_of_the_process_closes_every_attempt() {
    let rig = Rig::new();
    let mut talk = rig.connect().await;
    talk.ask(prepare(1, "a", 1000)).await;
    talk.ask(prepare(2, "b", 1000)).await;
    rig.end.send(()).unwrap();
    rig.running.await.unwrap();
    assert_eq!(rig.server.tester.finished.load(Ordering::Relaxed), 2);
    assert!(!rig.directory.path().join("s").exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (stale, file) = (
        directory.path().join("stale"),
        directory.path().join("file"),
    );
    drop(UnixListener::bind(&stale).unwrap());
    std::fs::write(&file, "precious").unwrap();
    assert!(remove_old_socket(&stale).is_ok());
    assert!(remove_old_socket(&file).is_err());
    assert!(file.exists());
}
