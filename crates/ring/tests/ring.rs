//! The ring from outside: what a reader gets, and what nobody can do to it.
#![allow(unsafe_code, reason = "tries what a hostile reader might")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::stat::Mode;
use proptest::prelude::*;
use v2m_ring::ErrorKind;
use v2m_ring::shm;
use v2m_ring::{
    Echo, EventLane, GapReason, Kind, Layout, NS_PER_SAMPLE, Rate, Reader, Ring, WINDOW,
};

const HISTORY: u64 = 1 << 16;

fn reader(ring: &Ring) -> Reader {
    Reader::new(ring.duplicate().unwrap()).unwrap()
}

fn ramp(from: u64, count: u64) -> Vec<f32> {
    (from..from + count).map(|n| n as f32).collect()
}

#[test]
fn what_is_written_is_read_across_the_end_of_the_ring() {
    let (ring, mut writer, ..) = Ring::create(HISTORY).unwrap();
    let reader = reader(&ring);
    let mut position = 0;
    for block in [1, 85, 86, 4096, 43, 60_000, 5000, 4096] {
        writer.append(&ramp(position, block), position as i64 * NS_PER_SAMPLE);
        position += block;
        assert_eq!(reader.committed(), position);
        let count = position.min(4096);
        let mut copy = vec![0.0; count as usize];
        reader.read_samples(position - count, &mut copy).unwrap();
        assert_eq!(copy, ramp(position - count, count));
        // The window is the same memory, contiguous wherever it begins.
        let window = reader.window(position - count, count).unwrap();
        // SAFETY: `count` floats behind the window, and nobody writes in this test.
        let window = unsafe { std::slice::from_raw_parts(window.as_ptr(), count as usize) };
        assert_eq!(window, copy);
        assert_eq!(
            reader.time_ns(position - count),
            Some((position - count) as i64 * NS_PER_SAMPLE)
        );
    }
    assert!(position > HISTORY, "the ring was not lapped");
}

#[test]
fn a_ring_of_any_rate_keeps_its_time_and_may_begin_late() {
    for rate in Rate::ALL {
        let (ring, mut writer, mut speech, _) = Ring::at(rate, HISTORY + 1).unwrap();
        let reader = reader(&ring);
        assert_eq!(
            (reader.rate(), reader.layout().history()),
            (rate, 2 * HISTORY)
        );
        // A day after its source began, nothing of which it knows.
        let day = 86_400 * u64::from(rate.hz());
        let begin = day - day % rate.window();
        let start_ns = 1_000_000_007;
        writer.gap(begin, GapReason::NotCaptured, start_ns);
        writer.append_silence(begin, start_ns);
        speech.skip_to(begin / rate.window(), 0.0);
        let sound = vec![0.5; 10 * rate.window() as usize + 1];
        writer.append(&sound, start_ns + rate.ns(begin as i64));
        assert_eq!(reader.unused_until(), begin);
        assert_eq!(reader.complete_windows(), begin / rate.window() + 10);
        assert_eq!(reader.speech_committed(), begin / rate.window());
        for position in (begin - 3 * rate.window()..reader.committed()).step_by(7) {
            let time_ns = reader.time_ns(position).unwrap();
            let expected = start_ns + rate.ns(position as i64);
            assert!((expected - time_ns).abs() <= 1, "{time_ns} for {expected}");
            assert_eq!(reader.has_gap(position, 1), position < begin);
        }
        assert_eq!(reader.losses().gaps + reader.losses().samples, 0);
    }
}

#[test]
fn what_is_wiped_is_gone_and_says_so() {
    let (ring, mut writer, ..) = Ring::create(HISTORY).unwrap();
    let reader = reader(&ring);
    let time = |position: u64| position as i64 * NS_PER_SAMPLE;
    writer.append(&ramp(1, HISTORY), 0);
    writer.append(&ramp(1, 1000), time(HISTORY));
    // Bit by bit; from the first on, nothing of it counts as whole.
    assert!(writer.wipe(1000) && writer.is_wiping());
    assert_eq!(reader.oldest(), reader.committed());
    assert_eq!(
        reader.window(HISTORY, 1).unwrap_err().kind(),
        ErrorKind::Overrun
    );
    while writer.wipe(10_000) {}
    assert!(
        !writer.is_wiping() && !writer.wipe(10_000),
        "once is enough"
    );
    // What comes next is there, and what was before is silence that is flagged.
    let next = HISTORY + 1000;
    writer.append(&ramp(1, 100), time(next));
    assert_eq!(reader.oldest(), 1100);
    let mut copy = vec![1.0; (HISTORY - 100) as usize];
    reader.read_samples(1100, &mut copy).unwrap();
    assert!(copy.iter().all(|&sample| sample == 0.0));
    assert!(reader.has_gap(1100, 1) && reader.has_gap(next - 1, 1));
    assert!(!reader.has_gap(next, 100));
    let mut copy = [0.0; 100];
    reader.read_samples(next, &mut copy).unwrap();
    assert_eq!(copy[..], ramp(1, 100));
    assert_eq!(reader.losses(), Default::default());
    assert_eq!(reader.unused_until(), next);
    // Then the next time.
    while writer.wipe(10_000) {}
    assert_eq!(reader.oldest(), reader.committed());
}

#[test]
fn overwritten_and_future_samples_are_errors_that_say_which() {
    let (ring, mut writer, ..) = Ring::create(HISTORY).unwrap();
    let reader = reader(&ring);
    writer.append(&ramp(0, HISTORY), 0);
    assert!(reader.is_valid(0));
    writer.append(&ramp(HISTORY, 100), HISTORY as i64 * NS_PER_SAMPLE);
    assert!(!reader.is_valid(99) && reader.is_valid(100));
    assert_eq!(reader.oldest(), 100);
    let gone = reader.window(99, 10).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Overrun);
    assert!(gone.to_string().contains("100"), "{gone}");
    for (position, count) in [
        (HISTORY + 91, 10),
        (u64::MAX, 1),
        (u64::MAX - 5, 10),
        (100, HISTORY + 1),
    ] {
        assert_eq!(
            reader.window(position, count).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    assert_eq!(reader.time_ns(HISTORY * 2), None);
}

#[test]
fn gaps_are_where_they_were_announced() {
    let (ring, mut writer, ..) = Ring::create(HISTORY).unwrap();
    let reader = reader(&ring);
    writer.append(&ramp(0, 1000), 0);
    writer.gap(50, GapReason::Xrun, 0);
    writer.append_silence(50, 0);
    writer.append(&ramp(1050, 1000), 0);
    assert!(!reader.has_gap(0, 1000) && reader.has_gap(0, 1001));
    assert!(reader.has_gap(1049, 1) && !reader.has_gap(1050, 1000));
    assert!(reader.has_gap(0, u64::MAX));
    let record = reader.record(EventLane::Gaps, 0).unwrap();
    assert_eq!((record.position, record.length), (1000, 50));
    assert_eq!(reader.record(EventLane::Gaps, 1), None);
    assert_eq!((reader.losses().gaps, reader.losses().xruns), (1, 1));
    let mut silence = [1.0; 50];
    reader.read_samples(1000, &mut silence).unwrap();
    assert_eq!(silence, [0.0; 50]);
}

#[test]
fn the_wall_clock_is_that_of_the_time_of_capture() {
    let (ring, _, _, mut control) = Ring::at(Rate::SPEECH, 1 << 16).unwrap();
    let reader = reader(&ring);
    let now = v2m_ring::time::monotonic_ns();
    let shows = |time_ns: i64| reader.wall_ns(time_ns) - time_ns;
    // Nothing is known: as it is now.
    let here = v2m_ring::time::wall_offset_ns();
    assert!((shows(now) - here).abs() < 50_000_000);
    let (hour, second) = (3_600_000_000_000, 1_000_000_000);
    control.clock(here - 3 * hour, now - 60 * second);
    control.clock(here - 2 * hour, now - 20 * second);
    control.clock(here, now - 10 * second);
    assert_eq!(
        shows(now - 90 * second),
        here - 3 * hour,
        "before all that is known"
    );
    assert_eq!(shows(now - 30 * second), here - 3 * hour);
    assert_eq!(shows(now - 20 * second), here - 2 * hour);
    assert_eq!(shows(now - 11 * second), here - 2 * hour);
    assert!((shows(now - 10 * second) - here).abs() < 50_000_000);
    for claimed in [i64::MIN, i64::MAX] {
        reader.wall_ns(claimed);
    }
}

#[test]
fn where_gap_records_are_forgotten_a_gap_is_assumed() {
    let (ring, mut writer, ..) = Ring::create(HISTORY).unwrap();
    let reader = reader(&ring);
    writer.append(&ramp(0, 10), 0);
    for _ in 0..3000 {
        writer.gap(1, GapReason::Xrun, 0);
        writer.append_silence(1, 0);
        writer.append(&ramp(0, 3), 0);
    }
    assert!(
        reader.has_gap(0, 5),
        "nothing is known about the first samples any more"
    );
    assert!(!reader.has_gap(reader.committed() - 3, 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is said of gaps is what their records say, newest first, however many there are,
    /// wherever one looks and whatever was wiped.
    #[test]
    fn gaps_are_found_from_any_distance(
        steps in prop::collection::vec((0..40_u32, 0..90_u64, 0..60_u64), 1..2600),
        asked in prop::collection::vec((0.0..1.0_f64, 0..400_u64), 20),
    ) {
        let (ring, mut writer, ..) = Ring::create(HISTORY).unwrap();
        let reader = reader(&ring);
        for (number, (what, audio, silence)) in steps.iter().enumerate() {
            match what {
                0 if number % 8 == 0 => while writer.wipe(1 << 14) {},
                1 => drop(reader.has_gap(writer.position(), 1)),
                _ => {}
            }
            writer.append(&ramp(0, *audio), 0);
            writer.gap(*silence + 3, GapReason::Xrun, 0);
            writer.append_silence(*silence, 0);
        }
        let count = reader.records_committed(EventLane::Gaps);
        let records: Vec<_> = (reader.records_oldest(EventLane::Gaps)..count)
            .map(|number| reader.record(EventLane::Gaps, number).unwrap())
            .collect();
        let wiped = records.iter().rposition(|gap| gap.detail == GapReason::NotCaptured as u32);
        let is_forgotten = reader.records_oldest(EventLane::Gaps) > 0;
        let (kept, known) = match wiped {
            Some(wiped) => (&records[wiped..], records[wiped].position),
            None => (&records[..], if is_forgotten { records[0].position } else { 0 }),
        };
        let first = known.max(reader.oldest());
        for (place, length) in asked {
            let position = first + (place * (reader.committed() - first) as f64) as u64;
            let within: Vec<_> = kept
                .iter()
                .filter(|gap| gap.position < position + length && gap.end() > position)
                .copied()
                .collect();
            prop_assert_eq!(reader.has_gap(position, length), !within.is_empty());
            let at = kept.iter().rfind(|gap| (gap.position..gap.end()).contains(&position));
            prop_assert_eq!(reader.gap_at(position), at.map(|gap| (gap.position, gap.end())));
            prop_assert_eq!(reader.gaps_within(position, length), within);
        }
    }
}

#[test]
fn the_speech_track_is_a_window_too() {
    let (ring, _capture, mut speech, _) = Ring::create(HISTORY).unwrap();
    let reader = reader(&ring);
    for n in 0..HISTORY / WINDOW * 3 {
        speech.probability(n as f32);
        assert_eq!(reader.speech_committed(), n + 1);
    }
    let last = reader.speech_committed() - 8;
    let mut copy = [0.0; 8];
    reader.read_speech(last, &mut copy).unwrap();
    assert_eq!(copy.to_vec(), ramp(last, 8));
    // SAFETY: eight floats behind the window, and nobody writes in this test.
    let window = unsafe { std::slice::from_raw_parts(reader.speech(last, 8).unwrap().as_ptr(), 8) };
    assert_eq!(window, copy);
}

#[test]
fn nobody_can_write_to_a_ring_or_change_its_size() {
    let (ring, ..) = Ring::create(HISTORY).unwrap();
    let file = ring.descriptor();
    let seals = SealFlag::from_bits_retain(fcntl(file, FcntlArg::F_GET_SEALS).unwrap());
    assert!(seals.contains(shm::SEALS));
    let length = std::num::NonZeroUsize::new(4096).unwrap();
    let again = open(
        format!("/proc/self/fd/{}", file.as_raw_fd()).as_str(),
        OFlag::O_RDWR,
        Mode::empty(),
    );
    let mut files = vec![ring.duplicate().unwrap()];
    files.extend(again);
    for file in &files {
        for flags in [MapFlags::MAP_SHARED, MapFlags::MAP_SHARED_VALIDATE] {
            // SAFETY: a map that must be refused; nothing refers to it.
            let map = unsafe {
                mmap(
                    None,
                    length,
                    ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                    flags,
                    file,
                    0,
                )
            };
            assert!(map.is_err(), "a writable map was granted");
        }
        assert!(nix::unistd::write(file.as_fd(), b"x").is_err());
        assert!(nix::unistd::ftruncate(file, 0).is_err());
        // SAFETY: a new private-to-this-test read-only map, made writable below in vain.
        let map = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED,
                file,
                0,
            )
        }
        .unwrap();
        // SAFETY: only changes the protection of that map.
        let changed = unsafe {
            nix::sys::mman::mprotect(map, 4096, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
        };
        assert!(changed.is_err(), "a read-only map became writable");
        // SAFETY: that map, used no more.
        unsafe { nix::sys::mman::munmap(map, 4096) }.unwrap();
    }
}

#[test]
fn memory_with_holes_is_refused() {
    let (ring, ..) = Ring::create(HISTORY).unwrap();
    let size = shm::file_size(ring.descriptor()).unwrap();
    let mut header = vec![0; 0x980];
    nix::sys::uio::pread(ring.descriptor(), &mut header, 0).unwrap();
    let flags = nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING;
    let holes = nix::sys::memfd::memfd_create("holes", flags).unwrap();
    nix::unistd::ftruncate(&holes, size as i64).unwrap();
    nix::sys::uio::pwrite(&holes, &header, 0).unwrap();
    shm::seal(holes.as_fd()).unwrap();
    let error = Reader::new(holes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("holes"), "{error}");
}

#[test]
fn only_sealed_memory_is_accepted() {
    let loose = shm::create("loose", shm::ALIGNMENT).unwrap();
    assert_eq!(Reader::new(loose).unwrap_err().kind(), ErrorKind::Protocol);
    let file: OwnedFd = std::fs::File::open("/proc/self/exe").unwrap().into();
    assert_eq!(Reader::new(file).unwrap_err().kind(), ErrorKind::Protocol);
    let small = shm::create("small", 4096).unwrap();
    shm::seal(small.as_fd()).unwrap();
    assert_eq!(Reader::new(small).unwrap_err().kind(), ErrorKind::Protocol);
}

/// A sealed file of a given size that begins with given bytes.
fn forged(header: &[u8], size: usize) -> OwnedFd {
    let file = shm::create("forged", size).unwrap();
    let count = header.len().min(size);
    assert_eq!(nix::unistd::write(&file, &header[..count]).unwrap(), count);
    shm::seal(file.as_fd()).unwrap();
    file
}

fn genuine() -> (Vec<u8>, usize) {
    let (ring, ..) = Ring::create(HISTORY).unwrap();
    let size = shm::file_size(ring.descriptor()).unwrap();
    let mut header = vec![0; 4096];
    let read = nix::sys::uio::pread(ring.descriptor(), &mut header, 0).unwrap();
    assert_eq!(read, header.len());
    (header, size)
}

#[test]
fn a_header_that_lies_is_refused_by_name() {
    let (header, size) = genuine();
    assert!(Reader::new(forged(&header, size)).is_ok());
    let cases: [(usize, &[u8], &str); 10] = [
        (0, b"x", "magic"),
        (8, &1_u32.to_ne_bytes(), "its layout has version 1"),
        (8, &3_u32.to_ne_bytes(), "its layout has version 3"),
        (0x0c, &4096_u32.to_ne_bytes(), "header size"),
        (0x10, &(size as u64 * 2).to_ne_bytes(), "bytes"),
        (0x28, &44_100_u32.to_ne_bytes(), "44100 Hz"),
        (0x28, &48_000_u32.to_ne_bytes(), "window"),
        (0x80 + 8, &u64::MAX.to_ne_bytes(), "Samples"),
        (0x80 + 16, &(HISTORY * 2).to_ne_bytes(), "Clock"),
        (0x80 + 32 + 16, &(u64::MAX / 2 + 1).to_ne_bytes(), "Clock"),
    ];
    for (offset, bytes, named) in cases {
        let mut lie = header.clone();
        lie[offset..offset + bytes.len()].copy_from_slice(bytes);
        let error = Reader::new(forged(&lie, size)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(
            error.to_string().contains(named),
            "{error} does not name {named}"
        );
    }
}

#[test]
fn counters_that_lie_neither_crash_nor_hang_a_reader() {
    let (mut header, size) = genuine();
    let numbers = [
        0,
        1,
        HISTORY,
        HISTORY + 1,
        1 << 40,
        u64::MAX / 2,
        u64::MAX - 1,
        u64::MAX,
    ];
    for claimed in numbers {
        for committed in numbers {
            for lane in 0..6 {
                let at = 0x400 + lane * 0x80;
                header[at..at + 8].copy_from_slice(&claimed.to_ne_bytes());
                header[at + 8..at + 16].copy_from_slice(&committed.to_ne_bytes());
            }
            let reader = Reader::new(forged(&header, size)).unwrap();
            let mut out = [0.0; 600];
            for position in numbers {
                let _ = reader.window(position, 600);
                let _ = reader.read_samples(position, &mut out);
                let _ = reader.read_speech(position, &mut out);
                let _ = reader.time_ns(position);
                let _ = reader.has_gap(position, 600);
                let _ = reader.record(EventLane::EngineEvents, position);
                let _ = reader.device_name(position);
                let _ = reader.is_valid(position);
            }
        }
    }
}

proptest! {
    #[test]
    fn parsing_never_panics_and_what_it_accepts_fits(
        changes in prop::collection::vec((0_usize..0x140, any::<u8>()), 0..6),
        size in prop_oneof![Just(0_usize), 0_usize..1 << 24],
        keep_size in any::<bool>(),
    ) {
        let (mut header, genuine_size) = genuine();
        for (offset, byte) in changes {
            header[offset] = byte;
        }
        let size = if keep_size { genuine_size } else { size };
        if let Ok(layout) = Layout::parse(&header, size) {
            prop_assert!(layout.history() * 4 < size as u64);
        }
    }

    #[test]
    fn any_split_into_blocks_gives_the_same_ring(blocks in prop::collection::vec(1_u64..3000, 1..60)) {
        let (ring, mut writer, ..) = Ring::create(HISTORY).unwrap();
        let reader = reader(&ring);
        let mut position = 0;
        for block in blocks {
            writer.append(&ramp(position, block), position as i64 * NS_PER_SAMPLE);
            position += block;
        }
        let kept = position.min(HISTORY);
        let mut all = vec![0.0; kept as usize];
        reader.read_samples(position - kept, &mut all).unwrap();
        prop_assert_eq!(all, ramp(position - kept, kept));
        for at in [position - kept, position - kept / 2, position - 1] {
            prop_assert_eq!(reader.time_ns(at), Some(at as i64 * NS_PER_SAMPLE));
        }
    }

    #[test]
    fn a_source_s_name_is_told_whatever_it_is(names in prop::collection::vec(".{0,400}", 1..4)) {
        let (ring, .., mut control) = Ring::create(HISTORY).unwrap();
        let reader = reader(&ring);
        let mut told = Vec::new();
        for name in &names {
            control.device(name, 0);
            let device = reader.records_committed(EventLane::EngineEvents) - 1;
            told.push(reader.device_name(device));
            // What belongs to it is no name by itself.
            let others = (0..device).rev().map_while(|number| {
                let record = reader.record(EventLane::EngineEvents, number)?;
                (record.kind == Kind::Name as u32).then_some(number)
            });
            for number in others {
                prop_assert_eq!(reader.device_name(number), None);
            }
        }
        for (name, told) in names.iter().zip(told) {
            match told {
                None => prop_assert!(name.is_empty()),
                Some(told) if name.len() <= 1024 => prop_assert_eq!(&told, name),
                Some(told) => prop_assert!(name.starts_with(&told) && told.len() > 1020),
            }
        }
    }
}

#[test]
fn every_complete_window_has_what_was_taken_off_it() {
    for rate in Rate::ALL {
        let (ring, mut capture, _, _) = Ring::at(rate, HISTORY).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let window = rate.window();
        let echo = |n: u64| Echo {
            cancelled_db: n as f32,
            plays: true,
            both: n.is_multiple_of(2),
            converging: n.is_multiple_of(3),
        };
        assert_eq!(reader.echo(0), None);
        // A window has what held when its last sample came.
        capture.set_echo(echo(1));
        capture.append(&vec![0.1; window as usize - 1], 0);
        assert_eq!(reader.echo(0), None);
        capture.set_echo(echo(2));
        capture.append(&[0.1; 2], 0);
        assert_eq!((reader.echo(0), reader.echo(1)), (Some(echo(2)), None));
        // Silence had nothing taken off.
        capture.append_silence(window, 0);
        capture.append(&vec![0.1; 2 * window as usize], 0);
        let all = [echo(2), Echo::default(), echo(2), echo(2)];
        assert_eq!(reader.echoes(0, reader.committed()), all);
        assert_eq!(reader.echoes(window + 1, 2 * window), all[1..3]);
        assert_eq!(reader.echoes(u64::MAX, 5), []);
        // Long forgotten.
        let silence = reader.layout().history() + 70_000 * window;
        capture.append_silence(silence, 0);
        assert_eq!(reader.echo(0), None);
    }
}
