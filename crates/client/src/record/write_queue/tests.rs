//! Property tests of the queue, on a disk in memory.

use proptest::prelude::*;

use super::*;
use crate::ring::Ring;

const HISTORY: u64 = 65_536;

/// A disk in memory that does what it is told, or fails as it is told.
#[derive(Default)]
struct Disk {
    bytes: Vec<u8>,
}

impl Disk {
    /// Runs a chain of which `fate` spoils a step: refused, or cut short.
    fn run(&mut self, steps: &[Operation], fate: Option<(usize, Option<usize>)>) -> Done {
        let mut broken = false;
        let results = steps.iter().enumerate().map(|(n, step)| {
            let Operation::Write {
                offset,
                source,
                length,
            } = step
            else {
                return Ok(0);
            };
            if broken {
                return Err(Errno::ECANCELED);
            }
            let written = match fate {
                Some((at, None)) if at % steps.len() == n => {
                    broken = true;
                    return Err(Errno::ENOSPC);
                }
                Some((at, Some(short))) if at % steps.len() == n => {
                    broken = true;
                    short % length
                }
                _ => *length,
            };
            let end = *offset as usize + written;
            self.bytes.resize(self.bytes.len().max(end), 0xee);
            self.bytes[*offset as usize..end].copy_from_slice(&source.copy(0..written));
            Ok(written)
        });
        results.collect()
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// So much is captured.
    Capture(u64),
    /// Everything captured so far is appended.
    Append,
    /// Encoded bytes are appended.
    Bytes(usize),
    /// A chain runs; so much is captured before it reads the ring.
    Write(Option<(usize, Option<usize>)>, u64),
    /// A sync, and whether it works.
    Sync(bool),
}

/// A step that the disk spoils, and how.
fn fate() -> impl Strategy<Value = Option<(usize, Option<usize>)>> {
    prop::option::weighted(0.3, (0..40_usize, prop::option::of(0..300_000_usize)))
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1..30_000_u64).prop_map(Event::Capture),
        4 => Just(Event::Append),
        1 => (1..5000_usize).prop_map(Event::Bytes),
        4 => (fate(), prop_oneof![3 => Just(0_u64), 1 => 0..50_000_u64])
            .prop_map(|(fate, meanwhile)| Event::Write(fate, meanwhile)),
        2 => any::<bool>().prop_map(Event::Sync),
    ];
    prop::collection::vec(event, 1..60)
}

/// The sample at a position: no two of a history alike, none zero.
fn sample(position: u64) -> f32 {
    (position % 1_000_003 + 1) as f32
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever the disk does: at the end the file is what was appended, but for
    /// what is reported as lost, which is silence.
    #[test]
    fn the_file_is_what_was_appended(events in events(), late in fate()) {
        let (ring, mut capture, ..) = Ring::create(HISTORY).unwrap();
        let reader = Arc::new(Reader::new(ring.duplicate().unwrap()).unwrap());
        let mut write_queue = WriteQueue::new(0);
        let (mut disk, mut lost) = (Disk::default(), Vec::new());
        // What the file ought to be: samples, or bytes that are no samples.
        let mut meant: Vec<u8> = Vec::new();
        let mut appended = 0;
        let mut write = |count: u64| {
            let samples: Vec<f32> =
                (0..count).map(|n| sample(capture.position() + n)).collect();
            capture.append(&samples, 0);
        };
        for event in events.into_iter().chain([Event::Append]) {
            match event {
                Event::Capture(count) => write(count),
                Event::Append => {
                    let committed = reader.committed();
                    write_queue.push_ring(&reader, appended, committed - appended);
                    let samples: Vec<f32> = (appended..committed).map(sample).collect();
                    meant.extend_from_slice(bytemuck::cast_slice(&samples));
                    appended = committed;
                }
                // Of a sample's size here, so that silence has one place.
                Event::Bytes(count) => {
                    let bytes: Vec<u8> = (0..count * 4).map(|n| n as u8).collect();
                    meant.extend(&bytes);
                    write_queue.push_bytes(bytes, count as u64);
                }
                Event::Write(fate, meanwhile) => {
                    let steps = write_queue.start(&mut lost);
                    if !steps.is_empty() {
                        write(meanwhile);
                        let done = disk.run(&steps, fate);
                        write_queue.finish(&done, &mut lost);
                    }
                }
                Event::Sync(true) => write_queue.synced(),
                Event::Sync(false) => write_queue.sync_failed(),
            }
            prop_assert!(write_queue.complete() * 4 <= write_queue.end());
        }
        // The end comes while a chain is under way that the disk is late with.
        let steps = write_queue.start(&mut lost);
        write_queue.own(&mut lost);
        write(HISTORY);
        write(HISTORY);
        let done = disk.run(&steps, late);
        write_queue.finish(&done, &mut lost);
        // Each chain gets on; a piece that none can write would come for ever.
        for _ in 0..1000 {
            if write_queue.is_empty() {
                break;
            }
            let steps = write_queue.start(&mut lost);
            let done = disk.run(&steps, None);
            prop_assert_eq!(write_queue.finish(&done, &mut lost), None);
        }
        for lost in &lost {
            let at = lost.sample as usize * 4;
            meant[at..at + lost.samples as usize * 4].fill(0);
        }
        prop_assert_eq!(write_queue.complete() * 4, meant.len() as u64);
        prop_assert!(disk.bytes == meant, "the file is something else");
    }
}
