//! What is captured is what was played, sample by sample.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, sleep};

use v2m_engine::capture::alsa::{Access, AlsaSource, Options, Stop, sources};
use v2m_engine::capture::{Block, Event, Sink};

use super::guest::{Other, assert_right, capture, ms, next_event, set_control, setup};
use crate::allocations;
use crate::known::Kept;

pub(crate) fn exact() {
    recorded(&[
        (48_000, 1, 16, 64),
        (48_000, 2, 16, 128),
        (44_100, 1, 32, 256),
        (44_100, 2, 32, 512),
        (48_000, 2, 32, 1024),
    ]);
}

/// Every combination.
pub(crate) fn exact_all() {
    let mut cases = Vec::new();
    for (rate, bits) in [(48_000, 16), (44_100, 32)] {
        for channels in [1, 2] {
            for period in [64, 128, 256, 512, 1024] {
                cases.push((rate, channels, bits, period));
            }
        }
    }
    recorded(&cases);
}

/// EventLane what is played, with this rate, channels, bits and period.
fn recorded(cases: &[(u32, u32, u32, u32)]) {
    for &(rate, channels, bits, period) in cases {
        let what = format!("{rate} Hz, {channels} channels, {bits} bits, period {period}");
        let _player = Other::play("hw:Loopback,0,0", rate, channels, bits, 7, 4.0);
        let options = Options {
            period: Some(period),
            ..Options::default()
        };
        let source = AlsaSource::open("hw:Loopback,1,0", options).unwrap();
        let got = setup(&source);
        let format = if bits == 16 { "S16_LE" } else { "S32_LE" };
        assert_eq!(
            (got.rate, got.channels, got.format.as_str()),
            (rate, channels, format),
            "{what}"
        );
        assert_eq!(
            (got.period, got.access.as_str()),
            (period as usize, "MMAP_INTERLEAVED")
        );
        let found = capture(source, bits, |events| {
            assert!(matches!(next_event(events), Event::Linked(_)));
            sleep(ms(800));
        });
        assert_eq!(found.len(), 1, "{what}: one life: {found:?}");
        assert_right(&what, &found[0], u64::from(rate) / 3);
    }
}

pub(crate) fn planar() {
    for access in [
        Access::MMapNonInterleaved,
        Access::RWInterleaved,
        Access::RWNonInterleaved,
    ] {
        let _player = Other::play("hw:Loopback,0,1", 48_000, 2, 16, 0, 3.0);
        let options = Options {
            access: Some(access),
            ..Options::default()
        };
        let mut source = AlsaSource::open("plughw:Loopback,1,1", options).unwrap();
        let got = setup(&source);
        assert_eq!(got.rate, 48_000);
        // A plug can make mono of it; it takes the average too.
        let bits = if got.format == "S16_LE" { 16 } else { 32 };
        println!("{got:?}");
        let (kept, stop) = (Kept::default(), Stop::new().unwrap());
        let (events, received) = channel();
        thread::scope(|scope| {
            scope.spawn(|| source.capture(&kept, &|event| drop(events.send(event)), &stop));
            assert!(matches!(next_event(&received), Event::Linked(_)));
            sleep(ms(800));
            stop.stop();
        });
        let pieces = kept.0.into_inner().unwrap();
        let frames: usize = pieces.iter().map(|piece| piece.samples.len()).sum();
        assert!(frames > 24_000, "{frames} frames of {bits} bits");
        assert!(
            pieces
                .windows(2)
                .all(|pair| pair[0].position + pair[0].samples.len() as u64 <= pair[1].position)
        );
    }
}

/// The player's clock runs 5 % faster, then 5 % slower than it says.
pub(crate) fn rate_shift() {
    let set = |shift| set_control(c"PCM Rate Shift 100000", 5, shift);
    let _player = Other::play("hw:Loopback,0,5", 48_000, 2, 16, 0, 10.0);
    let source = AlsaSource::open("hw:Loopback,1,5", Options::default()).unwrap();
    let found = capture(source, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        for shift in [100_000, 105_000, 95_000] {
            set(shift);
            sleep(ms(1000));
        }
        set(100_000);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert_right("at 5 % more and less", &found[0], 96_000);
}

pub(crate) fn dummy() {
    let source = AlsaSource::open("hw:Dummy", Options::default()).unwrap();
    println!("{:?}", setup(&source));
    let found = capture(source, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        sleep(ms(1000));
    });
    let found = &found[0];
    println!("{found:?}");
    let all = found.frames + found.lost;
    assert!((40_000..72_000).contains(&all), "about a second: {found:?}");
}

pub(crate) fn listed() {
    let names: Vec<String> = sources().into_iter().map(|source| source.name).collect();
    println!("{names:?}");
    for card in ["hw:CARD=Loopback,DEV=1", "hw:CARD=Dummy,DEV=0"] {
        assert!(
            names.iter().any(|name| name == &format!("alsa:{card}")),
            "{card}"
        );
    }
}

/// Notes how much its thread had allocated at its first block but four and now.
#[derive(Default)]
struct Allocated {
    blocks: AtomicU64,
    first: AtomicU64,
    last: AtomicU64,
}

impl Sink for Allocated {
    fn block(&self, _: &Block<'_>) {
        if self.blocks.fetch_add(1, Ordering::Relaxed) == 4 {
            self.first.store(allocations(), Ordering::Relaxed);
        }
        self.last.store(allocations(), Ordering::Relaxed);
    }
}

pub(crate) fn steady() {
    let _player = Other::play("hw:Loopback,0,6", 48_000, 2, 16, 0, 4.0);
    let mut source = AlsaSource::open("hw:Loopback,1,6", Options::default()).unwrap();
    let (ingest, stop) = (Allocated::default(), Stop::new().unwrap());
    let (events, _received) = channel();
    thread::scope(|scope| {
        scope.spawn(|| source.capture(&ingest, &|event| drop(events.send(event)), &stop));
        sleep(ms(1000));
        stop.stop();
    });
    let [blocks, first, last] =
        [ingest.blocks, ingest.first, ingest.last].map(AtomicU64::into_inner);
    println!("{blocks} blocks, {first} allocations before the fifth, {last} in all");
    assert!(
        blocks > 20 && first > 0 && first == last,
        "the loop allocates"
    );
}
