//! Drives `python3 -m rig serve` from Rust tests; see tests/rig/README.md. Rigs of one process run
//! one after the other: each has real-time threads of its own.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A private PipeWire. Every call panics with the rig's own message if it fails.
pub(crate) struct Rig {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    _turn: MutexGuard<'static, ()>,
}

/// A player of this rig.
#[derive(Clone, Copy)]
pub(crate) struct Player(u64);

impl Rig {
    /// Starts a daemon; `arguments` such as `["--quantum", "256"]`.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let helpers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let mut child = Command::new("python3")
            .env("PYTHONPATH", helpers)
            .args(["-m", "rig", "serve"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can't be run: apt-get install python3");
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut rig = Self {
            child,
            requests,
            answers,
            _turn: turn,
        };
        rig.call("directory", json!([]));
        rig
    }

    /// Calls a method of `PrivatePipeWire`, or reads a property.
    pub(crate) fn call(&mut self, name: &str, args: Value) -> Value {
        self.send(json!({"call": name, "args": args}))
    }

    /// The same with keyword arguments.
    pub(crate) fn call_with(&mut self, name: &str, args: Value, kwargs: Value) -> Value {
        self.send(json!({"call": name, "args": args, "kwargs": kwargs}))
    }

    fn send(&mut self, request: Value) -> Value {
        let requests = self.requests.as_mut().unwrap();
        let sent = writeln!(requests, "{request}").and_then(|()| requests.flush());
        let mut line = String::new();
        if sent.is_err() || self.answers.read_line(&mut line).unwrap_or(0) == 0 {
            panic!("the rig ended; what it said is on standard error (in answer to {request})");
        }
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        if let Some(error) = answer.get("error") {
            panic!("{request}: {error}");
        }
        answer["ok"].take()
    }

    /// The daemon's socket.
    pub(crate) fn socket(&mut self) -> String {
        format!(
            "{}/pipewire-0",
            self.call("directory", json!([])).as_str().unwrap()
        )
    }

    /// Plays raw mono f32 samples in a loop, a sample per graph sample at any rate.
    pub(crate) fn play(&mut self, samples: &[f32], target: &str, port: Option<&str>) -> Player {
        let directory = self.call("directory", json!([]));
        let mut name = format!("{}/{target}", directory.as_str().unwrap());
        write!(name, "-{}.f32", port.unwrap_or("all")).unwrap();
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_ne_bytes()).collect();
        std::fs::write(&name, bytes).unwrap();
        let kwargs = json!({"loop": true, "rate": 0, "port": port,
                            "name": format!("player-{}", port.unwrap_or("all"))});
        Player(
            self.call_with("play", json!([name, target]), kwargs)
                .as_u64()
                .unwrap(),
        )
    }

    /// The player's anchors so far: p0, rate, clock id; `x[p - p0]` is at position p.
    pub(crate) fn starts(&mut self, player: Player) -> Vec<(i64, u32, u32)> {
        let request = json!({"player": player.0, "call": "started"});
        serde_json::from_value(self.send(request)).unwrap()
    }

    /// All links as `node:port` pairs, output first.
    pub(crate) fn links(&mut self) -> Vec<(String, String)> {
        serde_json::from_value(self.call("links", json!([]))).unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.requests.take()); // its end: the rig cleans up and goes
        let _ = self.child.wait();
    }
}
