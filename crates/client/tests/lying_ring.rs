//! Rings whose counters disagree, as an engine that is broken or hostile would write them:
//! streams, segments and recorders end or go on, and never hang, grow or abort.
#![allow(
    unsafe_code,
    reason = "accepts a connection, and says where by the environment"
)]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, listen,
};
use v2m_client::connection::Connection;
use v2m_client::cursor::Hop;
use v2m_client::error::{Error, ErrorKind};
use v2m_client::events::Events;
use v2m_client::locator::{Locator, Mode};
use v2m_client::progress::{Poll, Source};
use v2m_client::protocol::{self, Reply, Request};
use v2m_client::reading::Pieces;
use v2m_client::record::{Options, Recorder, Stop};
use v2m_client::ring::{Reader, Ring, State, shm};
use v2m_client::segments::Segments;
use v2m_client::stream::Stream;
use v2m_client::vad::segment::Params;

/// Samples that these rings keep.
const HISTORY: u64 = 1 << 16;
/// Where each lane's counters (claimed, committed) are, by docs/ring-layout.md.
const COUNTERS: u64 = 0x400;
const STRIDE: u64 = 0x80;
const LANES: u64 = 7;
/// Turns a hang into a failure.
const HANGS: Duration = Duration::from_secs(60);

/// An engine that hands out copies of a ring in which something was changed.
struct Liar {
    ring: Arc<Mutex<Vec<u8>>>,
    socket: PathBuf,
}

impl Liar {
    fn new(directory: &Path) -> Self {
        let (ring, mut capture, mut speech, mut control) = Ring::create(HISTORY).unwrap();
        for window in 0..200 {
            capture.append(&[0.1; 512], window * 32_000_000);
            speech.probability(if window % 20 < 12 { 0.9 } else { 0.1 });
        }
        control.state(State::Running, 0);
        let file = File::from(ring.duplicate().unwrap());
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let liar = Self {
            ring: Arc::new(Mutex::new(bytes)),
            socket: directory.join("engine.sock"),
        };
        liar.serve();
        liar
    }

    fn serve(&self) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
        let listening = nix::sys::socket::socket(family, kind, flags, None).unwrap();
        bind(listening.as_raw_fd(), &UnixAddr::new(&self.socket).unwrap()).unwrap();
        listen(&listening, Backlog::MAXCONN).unwrap();
        let ring = self.ring.clone();
        thread::spawn(move || {
            while let Ok(client) = accept(listening.as_raw_fd()) {
                // SAFETY: accept(2) has just made this descriptor, and nobody else has it.
                let client = unsafe { OwnedFd::from_raw_fd(client) };
                let ring = ring.clone();
                thread::spawn(move || answer(&client, &ring));
            }
        });
    }

    /// Changes the counters of `lane`.
    fn lies(&self, original: &[u8], lies: &[(u64, u64, u64)]) {
        let mut bytes = original.to_vec();
        for &(lane, claimed, committed) in lies {
            let at = (COUNTERS + lane * STRIDE) as usize;
            bytes[at..at + 8].copy_from_slice(&claimed.to_ne_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&committed.to_ne_bytes());
        }
        *self.ring.lock().unwrap() = bytes;
    }
}

fn answer(client: &OwnedFd, ring: &Mutex<Vec<u8>>) {
    while let Ok(packet) = protocol::receive::<Request>(client.as_fd(), protocol::MAX_REQUEST) {
        let Some(packet) = packet else { continue };
        let sent = match packet.message {
            Request::Open { .. } => {
                let bytes = ring.lock().unwrap().clone();
                let file = shm::create("v2m-liar", bytes.len()).unwrap();
                let file = File::from(file);
                file.write_all_at(&bytes, 0).unwrap();
                shm::seal(file.as_fd()).unwrap();
                let source = "file:lies".to_owned();
                let channel = "auto".to_owned();
                protocol::send(
                    client.as_fd(),
                    &Reply::Opened {
                        source,
                        channel,
                        rate: 16_000,
                    },
                    Some(file.as_fd()),
                )
            }
            Request::Connect {} => continue,
            Request::Status {} => {
                let no = Error::new(ErrorKind::Unavailable, "no");
                protocol::send(client.as_fd(), &Reply::refused(&no), None)
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Numbers as they are wrong.
fn odd(dice: &mut impl FnMut() -> u64) -> u64 {
    let near = dice() % 4096;
    match dice() % 8 {
        0 => 0,
        1 => u64::MAX - near,
        2 => (u64::MAX / 512).saturating_add(near),
        3 => near,
        4 => 200 * 512 + near,
        5 => HISTORY + near,
        6 => 1 << (dice() % 64),
        _ => dice(),
    }
}

/// So many items at most, and errors are fine.
fn drain<S: Source>(source: &S) {
    for _ in 0..100 {
        match source.poll() {
            Ok(Poll::Pending | Poll::EngineLost | Poll::NoSpeechTrack | Poll::Ended) | Err(_) => {
                return;
            }
            Ok(Poll::Ready(_) | Poll::Overrun(_)) => {}
        }
        source.is_pending();
    }
}

#[test]
fn no_reader_hangs_grows_or_aborts() {
    let directory = std::env::temp_dir().join(format!("v2m-liar-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let liar = Liar::new(&directory);
    // SAFETY: the only test of this program; the liar's threads read no environment.
    unsafe { std::env::set_var("V2M_ENGINE_SOCKET", &liar.socket) };
    let original = liar.ring.lock().unwrap().clone();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut dice = move || {
        // xorshift64
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..200 {
        let count = 1 + dice() % 3;
        let lies: Vec<_> = (0..count)
            .map(|_| (dice() % LANES, odd(&mut dice), odd(&mut dice)))
            .collect();
        liar.lies(&original, &lies);
        let out = directory.join(format!("{round}.wav"));
        let (done, ended) = channel();
        let path = out.clone();
        thread::spawn(move || {
            read(&path, (round % 10 == 0).then_some(round % 20 == 0));
            done.send(())
        });
        let ended = ended.recv_timeout(HANGS);
        assert!(ended.is_ok(), "round {round} hangs or panics: {lies:x?}");
        let size = out.metadata().map_or(0, |out| out.len());
        assert!(
            size < 64 << 20,
            "round {round} wrote {size} bytes: {lies:x?}"
        );
        let _ = std::fs::remove_file(out);
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Everything that reads; recorders now and then, of speech or of all.
fn read(out: &Path, speech: Option<bool>) {
    let locator = Locator {
        mode: Mode::Service,
        ..Locator::default()
    };
    // A header that is wrong is refused before there is anything to read.
    let Ok((ring, _)) = Connection::service().and_then(|mut service| service.open(None)) else {
        return;
    };
    let _: Vec<_> = ring.gaps_within(0, u64::MAX);
    whole(&ring);
    for hop in [Hop::Quantum, Hop::Samples(160)] {
        let stream = Stream::new(locator.clone(), 320, hop, Some(Duration::from_millis(50)));
        let stream = Arc::new(stream);
        if stream.open().is_err() {
            continue;
        }
        let _ = stream.latest();
        if let Ok(segments) = Segments::new(stream.clone(), Params::default()) {
            drain(&segments);
            segments.finish();
            drain(&segments);
        }
        if let Ok(events) = Events::new(stream.clone()) {
            drain(&events);
        }
        if let Ok(pieces) = Pieces::new(&stream, 100) {
            drain(&pieces);
        }
        drain(&*stream);
    }
    if let Some(speech) = speech
        && let Ok(engine) = locator.connect()
    {
        let options = Options {
            last: Duration::from_secs(3600),
            speech,
            ..Options::default()
        };
        if let Ok(recorder) = Recorder::open(engine, locator, out, options) {
            let stop = Stop::new().unwrap();
            let asked = stop.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(100));
                asked.ask();
            });
            let _ = recorder.run(&stop, |_| {});
        }
    }
}

/// The ring's records, all that it says there are.
fn whole(ring: &Reader) {
    let _ = (ring.unused_until(), ring.has_gap(0, 100), ring.gap_at(5));
    let mut samples = [0.0; 512];
    let _ = ring.read_samples(ring.committed().saturating_sub(512), &mut samples);
    let _ = ring.time_ns(ring.committed().saturating_sub(1));
}
